"""The service over HTTP: the application, its routes, the protocol's short way, requests read and answers written."""
