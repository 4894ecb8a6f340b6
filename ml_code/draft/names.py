"""What the name of a column tells: an identifier, the number of a row, or a person whose rows repeat."""

from __future__ import annotations

import re

ID_WORDS = {"id", "ids", "uuid", "guid", "key", "no", "nr", "nbr", "num", "number", "pk", "cod", "code"}

STRICT_ID_WORDS = {"id", "ids", "uuid", "guid", "nr", "nbr"}
"""Words of identifiers that may repeat; a `number` that repeats is a number."""

INNER_ID_WORDS = {"id", "uuid", "guid"}
"""Words of identifiers before the last word too; `nr_visitors` is a count."""

COUNT_ENDS = {"count", "counts", "cnt", "total", "sum"}

ID_ENDS = ("아이디", "번호", "고유번호", "식별자", "사번", "학번", "코드")

ROW_NAMES = {
    "index", "idx", "row", "rows", "rowid", "row id", "row no", "row num", "row number", "rownum", "rownames",
    "rowname", "no", "nr", "num", "number", "seq", "s no", "sno", "sr no", "sl no", "serial", "serial no", "#",
    "level 0", "obs", "순번", "번호", "연번",
}  # fmt: skip

OWNERS = (
    "user", "customer", "client", "patient", "member", "person", "subject", "account", "contract", "policy",
    "employee", "student", "owner", "household", "participant", "cust", "device", "player", "driver",
    "고객", "회원", "환자", "계약", "사용자", "가입자", "직원", "학생",
)  # fmt: skip
"""Whose rows repeat, so that a model could recognize them."""


THINGS = (
    "order", "loan", "session", "product", "item", "transaction", "record", "row", "case", "ticket", "invoice", "visit",
    "booking", "passenger", "house", "store", "movie", "book", "sample", "document", "sale", "trip", "claim",
    "obj", "object",
)  # fmt: skip

CODE_WORDS = {
    "zip", "zipcode", "postcode", "postal", "postalcode", "plz", "phone", "telephone", "tel", "mobile", "fax",
    "pincode", "fips", "naics", "ean", "gtin", "upc", "isbn", "issn", "barcode", "sku", "imei", "iban", "바코드",
    "우편번호", "전화번호", "휴대폰", "휴대폰번호", "연락처",
}  # fmt: skip
"""Of codes: their digits are not a quantity."""

CODE_ENDS = {"code", "codes"}

SHORT_CODE_ENDS = {"cod", "cd"}
"""Of codes behind another word: alone, `COD` is an oxygen demand, `Cd` cadmium, and `CD4` a kind of cell."""

DATE_ENDS = ("date", "날짜", "일자", "일시")


def is_code(name: str) -> bool:
    """Whether the name is that of codes made of digits, such as `zip5`, `region_cd` or `행정구역코드`."""
    words = _split(name)
    stems = [word.rstrip("0123456789") for word in words]
    is_short = len(words) > 1 and words[-1] in SHORT_CODE_ENDS
    return is_short or not CODE_WORDS.isdisjoint(stems) or any(s in CODE_ENDS or s.endswith("코드") for s in stems[-1:])


def is_date(name: str) -> bool:
    """Whether the name is that of a date, such as `order_date` or `주문일자`."""
    words = _split(name)
    return bool(words) and words[-1].endswith(DATE_ENDS)


def is_identifier(name: str) -> bool:
    """Whether the name ends as those of identifiers: `Loan_ID`, `userid`, `order_no`, `회원번호`."""
    words = _split(name)
    if not words or (len(words) == 1 and words[0] in SHORT_CODE_ENDS):
        return False
    return words[-1] in ID_WORDS or _is_glued(words[-1]) or name.endswith(ID_ENDS)


def mentions_identifier(name: str) -> bool:
    """Whether a word of the name is one of identifiers, as in `SK_ID_CURR`: enough where each row has its own."""
    words = _split(name)
    return is_identifier(name) or (not INNER_ID_WORDS.isdisjoint(words) and words[-1] not in COUNT_ENDS)


def _is_glued(word: str) -> bool:
    """Whether a word is an owner or a thing with `id` at its end, as in `userid`; `paid` and `grid` are not."""
    return word.endswith("id") and word.removesuffix("id") in {*OWNERS, *THINGS}


def is_row_name(name: str) -> bool:
    """Whether the name is one of those that tools write above the numbers of rows."""
    return " ".join(_split(name)) in ROW_NAMES or is_unnamed(name)


def is_unnamed(name: str) -> bool:
    """Whether the column has no name of its own."""
    return bool(re.fullmatch(r"column [0-9]+|unnamed:? ?[0-9]+", name.lower()))


def may_repeat(name: str) -> bool:
    """Whether the name is that of an identifier whose rows may repeat: of a person or a stratum, or simply `id`."""
    words = _split(name)
    return is_owner(name) or (bool(words) and words[-1] in STRICT_ID_WORDS | {"stratum", "strata"})


def is_owner(name: str) -> bool:
    """Whether the name is that of a person or contract, such as `customer_id`."""
    words, joined = _split(name), name.lower().replace("_", "").replace(" ", "")
    if not words or not joined.startswith(OWNERS):
        return False
    rest = next(joined.removeprefix(owner) for owner in OWNERS if joined.startswith(owner))
    return rest in ID_WORDS | {"", "name", "code"} or rest.endswith(ID_ENDS)


def _split(name: str) -> list[str]:
    """The words of a name in lower case; `userID` has two."""
    return re.findall(r"[^\W_]+|#", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
