"""What people write: products, issues and sentences, put together from parts."""

from numpy.random import Generator

from rapport.world.chance import Array, Floats, Ints

PRODUCTS = (
    "Aria lamp", "Borealis router", "Cirrus camera", "Delta thermostat", "Ember speaker", "Fjord doorbell",
    "Gale fan", "Harbour hub", "Iris display", "Juno sensor", "Krill charger", "Lumen strip",
)  # fmt: skip
SKUS = tuple(f"{name[:3].upper()}-{100 + 10 * i}" for i, name in enumerate(PRODUCTS))
PRICES = (2_900, 12_900, 8_900, 15_900, 6_900, 11_900, 5_900, 19_900, 24_900, 1_900, 2_400, 3_900)
"""Minor units, in the order of the products."""
CATEGORIES = ("billing", "delivery", "connection", "defect", "account", "setup")
ISSUES = (
    ("I was charged twice for the {p}", "the invoice for the {p} does not add up", "my refund for the {p} is missing"),
    ("the {p} has not been delivered", "the parcel with the {p} is lost", "the courier left without the {p}"),
    ("the {p} loses its connection every evening", "the {p} goes offline again and again", "no signal on the {p}"),
    ("the {p} does not turn on", "the {p} overheats", "the {p} makes a strange noise", "a part of the {p} broke off"),
    ("I cannot log in to the app for the {p}", "my account shows no {p}", "the password reset for the {p} fails"),
    ("how do I pair the {p}", "the manual of the {p} skips a step", "the {p} does not appear in the app"),
)
GREETINGS = ("Hello,", "Hi,", "Good morning,", "Hi there,", "Dear team,", "Hey,", "")
NEUTRAL = (
    "Could you have a look?", "What can I do?", "Please let me know.", "When can I expect an answer?",
    "Is there any news?", "I am using the latest version.", "The order is from last month.", "I have tried a restart.",
)  # fmt: skip
NEGATIVE = (
    "This is unacceptable.", "I am really annoyed.", "Terrible service!", "Still not working!!",
    "I have explained this three times already.", "Nobody answers, what a disappointment.", "I am fed up with this.",
    "This is a complete waste of time.", "I am very frustrated.", "I want to speak to a manager.",
    "I will cancel if this goes on.", "Worst support ever.", "I am angry about the long wait.", "It is broken again.",
    "This is useless.", "I want my money back!",
)  # fmt: skip
POSITIVE = (
    "Thank you, great help!", "Perfect, it works now.", "Thanks a lot, very friendly.", "Excellent, problem solved.",
    "I am happy with the quick answer.", "Wonderful, thanks.", "Great product by the way.", "I really appreciate it.",
)  # fmt: skip
AGENT = (
    "I am sorry for the trouble with the {p}, let me check.", "Could you tell me the serial number of the {p}?",
    "I have passed the {p} on to our {c} team.", "Please unplug the {p} for a minute and try again.",
    "A replacement for the {p} is on its way.", "We have corrected it, please check the {p} once more.",
    "Thank you for waiting, I am looking into the {c} question now.", "Is there anything else about the {p}?",
)  # fmt: skip
AGENT_ACTIONS = (
    "apologise", "ask_serial_number", "hand_over", "suggest_restart",
    "send_replacement", "report_correction", "look_into", "ask_anything_else",
)  # fmt: skip
"""What an agent does by each of these sentences."""
BOT = (
    "Thanks for your message! Did you see our guide on {c}?", "I have found three articles about the {p}.",
    "I will connect you with a colleague from {c}.", "Your request about the {p} has been registered.",
)  # fmt: skip
BOT_ACTIONS = ("suggest_guide", "suggest_articles", "hand_over", "register_request")
NOTES = (
    "Note: customer has called before about the {p}.", "Note: check warranty of the {p}.", "Note: waiting for {c}.",
    "Note: offered a voucher, see {c}.",
)  # fmt: skip
NOTE_ACTIONS = ("note_contact", "check_warranty", "wait_for_team", "offer_voucher")
FIRST = ("anna", "ben", "carla", "david", "emre", "fiona", "greta", "hugo", "ines", "jonas", "kim", "lena")
LAST = ("kern", "meier", "novak", "okafor", "peters", "quinn", "rossi", "santos", "tran", "weber")
HOSTS = ("example.com", "example.org", "mail.example.net")


def customer_texts(
    product: Ints, category: Ints, opening: Array, grumbles: Ints, pleased: Array, rng: Generator
) -> list[str]:
    """Write customers' messages.

    Parameters
    ----------
    product, category
        What it is about.
    opening
        Whether the message opens the conversation: it then names the issue.
    grumbles
        How many negative sentences it holds.
    pleased
        Whether it holds a positive one.
    rng
        Where the choice of sentences comes from.
    """
    dice, contact = rng.integers(0, 1 << 30, (len(product), 5)).tolist(), contacts(len(product), rng)
    rows = zip(
        product.tolist(), category.tolist(), opening.tolist(), grumbles.tolist(), pleased.tolist(), dice, strict=True
    )
    return [" ".join(filter(None, (*_sentences(*row), extra))) for row, extra in zip(rows, contact, strict=True)]


def _sentences(
    product: int, category: int, opening: bool, grumbles: int, pleased: bool, dice: list[int]
) -> tuple[str, ...]:
    issue = ISSUES[category]
    first = f"{_at(GREETINGS, dice[0])} {_at(issue, dice[1])}." if opening else ""
    tone = [_at(NEGATIVE, dice[2] + 5 * k) for k in range(grumbles)] + ([_at(POSITIVE, dice[3])] if pleased else [])
    rest = [] if tone and dice[4] % 3 else [_at(NEUTRAL, dice[4] // 3)]
    return (first.strip().format(p=PRODUCTS[product]), *tone, *rest)


def replies(choices: tuple[str, ...], product: Ints, category: Ints, rng: Generator) -> tuple[list[str], Ints]:
    """Write messages of agents or bots; return them and which of the choices each is."""
    dice = rng.integers(0, len(choices), len(product))
    rows = zip(dice.tolist(), product.tolist(), category.tolist(), strict=True)
    return [choices[k].format(p=PRODUCTS[p], c=CATEGORIES[c]) for k, p, c in rows], dice


def contacts(n: int, rng: Generator) -> list[str]:
    """Return an e-mail address in about 2 % of the texts, a telephone number in 2 %, else nothing."""
    luck: Floats = rng.random(n)
    dice = rng.integers(0, 1 << 30, n).tolist()
    return [_contact(chance, die) if chance < 0.04 else "" for chance, die in zip(luck.tolist(), dice, strict=True)]


def _contact(chance: float, die: int) -> str:
    if chance < 0.02:
        return f"You can write to {_at(FIRST, die)}.{_at(LAST, die // 12)}{die % 90 + 10}@{_at(HOSTS, die // 7)}."
    number = f"{die % 9_000_000 + 1_000_000}"
    return f"Call me at {_at(('+49 30 ', '+44 20 7', '0041 44 ', '(030) '), die)}{number[:3]} {number[3:]}."


def _at(choices: tuple[str, ...], index: int) -> str:
    return choices[index % len(choices)]
