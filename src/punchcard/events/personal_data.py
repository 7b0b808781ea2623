"""Which values look as if they tell something about a person: by their form, or by the name of their property. Pure.

It errs on the side of caution: a value that only might be an email, a phone or a card number counts as one.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final


class PersonalData(StrEnum):
    """What a property seems to hold."""

    EMAIL = "email"
    PHONE = "phone"
    CARD_NUMBER = "card_number"  # its first and its check digit are those of a card
    IP_ADDRESS = "ip_address"
    NAME = "name"
    BIRTH_DATE = "birth_date"
    ADDRESS = "address"  # postal or geographic
    PERSON_ID = "person_id"  # of a customer, a device or a document
    SECRET = "secret"  # a password or a token


_LEAVES: Final[Mapping[PersonalData, str]] = MappingProxyType(
    {
        PersonalData.EMAIL: "email emailaddress mail",
        PersonalData.PHONE: "phone phonenumber mobile mobilenumber mobilephone cell cellphone tel telephone fax",
        PersonalData.CARD_NUMBER: "cardnumber creditcard creditcardnumber ccnumber pan cvv cvc",
        PersonalData.IP_ADDRESS: "ip ipaddress remoteip clientip",
        PersonalData.NAME: "firstname lastname fullname givenname familyname surname middlename maidenname nickname "
        "username displayname screenname customername membername contactname recipientname cardholder",
        PersonalData.BIRTH_DATE: "birthday birthdate dateofbirth dob birthyear",
        PersonalData.ADDRESS: "address street street1 street2 streetaddress addressline1 addressline2 line1 line2 zip "
        "zipcode postcode postalcode latitude longitude lat lng lon geo gps coordinates",
        PersonalData.PERSON_ID: "userid anonymousid customerid memberid profileid contactid patientid employeeid "
        "deviceid advertisingid idfa gaid ssn socialsecuritynumber nationalid passport passportnumber taxid iban "
        "accountnumber bankaccount licenseplate avatar photo",
        PersonalData.SECRET: "password passwd pwd secret token accesstoken refreshtoken idtoken apikey authorization "
        "cookie session sessionid otp pin signature",
    }
)
_BY_LEAF: Final = {name: kind for kind, names in _LEAVES.items() for name in names.split()}
# Members of an object about a person: their `name` is a person's name.
_PERSONS: Final = frozenset(
    {
        *("customer", "user", "member", "person", "contact", "client", "guest", "patient", "recipient"),
        *("billing", "shipping", "employee", "trainer"),
    }
)
_PATHS_REMEMBERED_MAX: Final = 2_000
_SEPARATORS: Final = re.compile(r"[\W_]+")
_EMAIL: Final = re.compile(r"[^\s@]@[^\s@]+\.[^\s@]")
_DIGIT_RUN: Final = re.compile(r"\+?\(?\d(?:[ ().\-/]{0,2}\d){6,}")
_IP_V4: Final = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
_IP_V6: Final = re.compile(r"(?i)(?<![\w:])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}(?![\w:])")
_DOTS_MIN: Final = 3  # of an IPv4 address
_COLONS_MIN: Final = 3  # of an IPv6 address, as the pattern has it
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")
_CLOCK: Final = re.compile(r"\d\d?:\d\d(?::\d\d(?:\.\d+)?)?")
_NUMBER: Final = re.compile(r"-?\d{1,8}(?:\.\d{1,9})?")
_PHONE_DIGITS_MIN: Final = 9
_PHONE_DIGITS_OF_MARKED_MIN: Final = 7  # with a plus or with separators
_CARD_DIGITS: Final = range(13, 20)
# Of the payment networks. Times since 1970 in milli-, micro- and nanoseconds, which many ids begin with, begin with 1.
_CARD_FIRST_DIGITS: Final = "23456"


@lru_cache(maxsize=_PATHS_REMEMBERED_MAX)
def personal_name(path: tuple[str, ...]) -> PersonalData | None:
    """Return what a property holds by its name; None if the name says nothing about a person.

    Args:
        path: Names from the outermost object to the property.
    """
    if not path:
        return None
    leaf = _fold(path[-1])
    if (kind := _BY_LEAF.get(leaf)) is not None:
        return kind
    parents = [_fold(name) for name in path[:-1]]
    if any("address" in name for name in parents):
        return PersonalData.ADDRESS
    if leaf in ("name", "first", "last") and any(name in _PERSONS for name in parents):
        return PersonalData.NAME
    return None


def personal_value(value: str | int) -> PersonalData | None:
    """Return what a text or a whole number looks like; None if it looks like nothing about a person."""
    if isinstance(value, int):
        if not 10 ** (_CARD_DIGITS.start - 1) <= value < 10 ** (_CARD_DIGITS.stop - 1):
            return None
        return PersonalData.CARD_NUMBER if _is_card_number(str(value)) else None
    if _DATE.fullmatch(value) or _NUMBER.fullmatch(value) or _CLOCK.fullmatch(value):
        return None
    # Most texts have no such characters, and counting them takes a tenth of a search.
    if "@" in value and _EMAIL.search(value):
        return PersonalData.EMAIL
    if (value.count(".") >= _DOTS_MIN and _IP_V4.search(value)) or (
        value.count(":") >= _COLONS_MIN and _IP_V6.search(value)
    ):
        return PersonalData.IP_ADDRESS
    kind = None
    for match in _DIGIT_RUN.finditer(value):
        run = match[0]
        digits = "".join(filter(str.isdigit, run))
        if _is_card_number(digits):
            return PersonalData.CARD_NUMBER
        least = _PHONE_DIGITS_MIN if run == digits else _PHONE_DIGITS_OF_MARKED_MIN
        if len(digits) >= least:
            kind = PersonalData.PHONE
    return kind


def _is_card_number(digits: str) -> bool:
    return len(digits) in _CARD_DIGITS and digits[0] in _CARD_FIRST_DIGITS and has_check_digit(digits)


def has_check_digit(digits: str) -> bool:
    """Return whether the last digit is the check digit of the others, as in card numbers (Luhn)."""
    total = 0
    for index, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if index % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0 and any(digit != "0" for digit in digits)


def _fold(name: str) -> str:
    return _SEPARATORS.sub("", name).lower()
