"""Names that no company may give to a column, fact or group of its own: silver, the engines and SQL use them."""

from validation.contracts.language import COMMON
from validation.contracts.silver import FACT_COLUMNS
from validation.contracts.standard import CONTRACTS

SQL_WORDS = """
all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create default
deferrable desc describe distinct do else end except false fetch for foreign from group having in initially
intersect into lambda lateral leading limit not null offset on only or order pivot pivot_longer pivot_wider placing
primary qualify references returning select show some summarize symmetric table then to trailing true union unique
unpivot using variadic when where window with
"""
COMPUTED_COLUMNS = """
before cell cell_entity counts customer_id cut duplicates edge entity event event_us fact fact_entity first
from_night heard high highest horizon known known_at known_day known_from known_until known_us label label_end last
leaves link_from link_until link_us low maximum minimum moment next night night_number nth number number_ often
ordinal order_key piece_event piece_from place purpose queue_id raw reason revises row rows said segment_id
served_at silver since slice spine standing subject t_us target tile times until until_night valid_until version x
year month day hour minute second date time timestamp
"""
SQL, COMPUTED = frozenset(SQL_WORDS.split()), frozenset(COMPUTED_COLUMNS.split())
RESERVED_COLUMNS = SQL | COMPUTED | {*FACT_COLUMNS, *(column.name for column in COMMON)}
RESERVED_FACTS = SQL | COMPUTED | {"log", "rows", "parsed", "interaction_scores", "annotations"} - CONTRACTS.keys()
