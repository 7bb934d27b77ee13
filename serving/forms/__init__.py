"""The forms of requests and responses; requests are checked against them and OpenAPI is made of them."""
