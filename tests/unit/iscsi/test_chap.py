from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest

from scstfs.iscsi.chap import ALGORITHMS, Chap, Credentials, User
from scstfs.iscsi.codes import LoginStatus
from scstfs.iscsi.errors import LoginRefused

JOE = {"joe": b"joesecret1234", "ann": b"annsecret5678"}
TARGET = User("tgtuser", b"tgtsecret1234")
CREDENTIALS = Credentials(JOE, TARGET)
IDENTIFIER = 0x5A
CHALLENGE = bytes(range(32))


def fixed(length: int) -> bytes:
    return bytes([IDENTIFIER]) if length == 1 else CHALLENGE[:length]


def scripted(*values: bytes) -> Callable[[int], bytes]:
    """Fixed random numbers, for any requested length."""
    rest = list(values)
    return lambda _length: rest.pop(0)


def challenged(algorithm: str = "7", credentials: Credentials = CREDENTIALS) -> Chap:
    chap = Chap(credentials, fixed)
    assert chap.step({"CHAP_A": algorithm}) == [
        ("CHAP_A", algorithm),
        ("CHAP_I", str(IDENTIFIER)),
        ("CHAP_C", "0x" + CHALLENGE.hex()),
    ]
    assert not chap.done
    return chap


def response(algorithm: str, secret: bytes, identifier: int, challenge: bytes) -> bytes:
    return hashlib.new(ALGORITHMS[algorithm], bytes([identifier]) + secret + challenge).digest()


def good(algorithm: str = "7") -> dict[str, str]:
    answer = response(algorithm, JOE["joe"], IDENTIFIER, CHALLENGE)
    return {"CHAP_N": "joe", "CHAP_R": "0x" + answer.hex()}


def refused(chap: Chap, keys: dict[str, str]) -> LoginStatus:
    with pytest.raises(LoginRefused) as caught:
        chap.step(keys)
    assert not any(secret.decode() in caught.value.why for secret in JOE.values())
    return caught.value.status


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ("5", "5"),
        ("5,6,7,8", "5"),
        ("8,7,6,5", "8"),
        ("7,5,6", "7"),
        ("99,6,5", "6"),
        ("05,5", "5"),
    ],
)
def test_the_first_algorithm_that_we_know_is_taken(offered: str, taken: str) -> None:
    assert Chap(CREDENTIALS, fixed).step({"CHAP_A": offered})[0] == ("CHAP_A", taken)


@pytest.mark.parametrize("offered", ["", "4", "MD5", "5 ", "5,,6", ",5", "5,"])
def test_no_common_algorithm(offered: str) -> None:
    assert refused(Chap(CREDENTIALS, fixed), {"CHAP_A": offered}) == LoginStatus.INITIATOR_ERROR


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_one_way(algorithm: str) -> None:
    chap = challenged(algorithm)
    assert chap.step(good(algorithm)) == []
    assert chap.done
    assert chap.user == "joe"


def test_response_in_base64() -> None:
    chap = challenged("5")
    answer = response("5", JOE["joe"], IDENTIFIER, CHALLENGE)
    chap.step({"CHAP_N": "joe", "CHAP_R": "0b" + base64.b64encode(answer).decode()})
    assert chap.done


# From logins of libiscsi 1.19 to tgt 1.0.85.
RECORDED_CHALLENGE = bytes.fromhex(
    "835d1e6b3aa9a543f9c03404b2381ea9781c79be0836ee213fcf3f9f69c5a0bcf92b6f9c6712e6a341911b05e07e9f"
    "626697"
)
RECORDED_ANSWER = {
    "CHAP_N": "joe",
    "CHAP_R": "0x7E14A8AFED9AAC1652B5A1A1435A5128",
    "CHAP_I": "1",
    "CHAP_C": "0xB02D88A32CE38C9EDE6C192E6D7679C41E9BC8412D75B725451D6AE29B7DF64B",
}


def test_recorded_mutual_authentication() -> None:
    chap = Chap(CREDENTIALS, scripted(b"\x02", RECORDED_CHALLENGE))
    chap.step({"CHAP_A": "5"})
    assert chap.step(RECORDED_ANSWER) == [
        ("CHAP_N", "tgtuser"),
        ("CHAP_R", "0x36bebf8dbd12dc3a3a6ce49cb3273ec3"),
    ]


def test_mutual_answers_in_the_encoding_of_the_question() -> None:
    chap = challenged("7")
    answers = chap.step({**good("7"), "CHAP_I": "0x10", "CHAP_C": "0bAAECAw=="})
    assert answers[0] == ("CHAP_N", "tgtuser")
    name, value = answers[1]
    assert (name, value[:2]) == ("CHAP_R", "0b")
    expected = response("7", TARGET.secret, 16, b"\0\1\2\3")
    assert base64.b64decode(value[2:]) == expected


AUTHENTICATION_FAILURES = {
    "unknown user": {**good(), "CHAP_N": "jim"},
    "name differs in case": {**good(), "CHAP_N": "Joe"},
    "another's name": {**good(), "CHAP_N": "ann"},
    "wrong response": {"CHAP_N": "joe", "CHAP_R": "0x" + "00" * 32},
    "short response": {"CHAP_N": "joe", "CHAP_R": good()["CHAP_R"][:-2]},
    "other algorithm": good("5"),
}


@pytest.mark.parametrize("keys", AUTHENTICATION_FAILURES.values(), ids=AUTHENTICATION_FAILURES)
def test_authentication_failure(keys: dict[str, str]) -> None:
    chap = challenged("7")
    assert refused(chap, keys) == LoginStatus.AUTHENTICATION_FAILURE
    assert not chap.done


MALFORMED: dict[str, dict[str, str]] = {
    "nothing": {},
    "no name": {"CHAP_R": good()["CHAP_R"]},
    "no response": {"CHAP_N": "joe"},
    "not hexadecimal": {"CHAP_N": "joe", "CHAP_R": "0xzz"},
    "not binary": {"CHAP_N": "joe", "CHAP_R": "12345"},
    "long response": {"CHAP_N": "joe", "CHAP_R": "0x" + "00" * 65},
    "mutual without challenge": {**good(), "CHAP_I": "1"},
    "mutual without identifier": {**good(), "CHAP_C": "0x00"},
    "mutual with a wrong identifier": {**good(), "CHAP_I": "256", "CHAP_C": "0x00"},
    "mutual with a long challenge": {**good(), "CHAP_I": "1", "CHAP_C": "0x" + "00" * 1025},
    "mutual with no challenge": {**good(), "CHAP_I": "1", "CHAP_C": "0x"},
    "reflection": {**good(), "CHAP_I": "1", "CHAP_C": "0x" + CHALLENGE.hex()},
}


@pytest.mark.parametrize("keys", MALFORMED.values(), ids=MALFORMED)
def test_malformed(keys: dict[str, str]) -> None:
    assert refused(challenged("7"), keys) == LoginStatus.INITIATOR_ERROR


def test_longest_challenge() -> None:
    chap = challenged("7")
    keys = {**good(), "CHAP_I": "255", "CHAP_C": "0x" + "5a" * 1024}
    assert chap.step(keys)[1][1] == "0x" + response("7", TARGET.secret, 255, b"Z" * 1024).hex()


def test_mutual_without_an_outgoing_user() -> None:
    chap = challenged("7", Credentials(JOE))
    keys = {**good(), "CHAP_I": "1", "CHAP_C": "0x00"}
    assert refused(chap, keys) == LoginStatus.AUTHENTICATION_FAILURE


def test_one_secret_for_both_directions_is_refused() -> None:
    """RFC 7143 9.2.1: the response is the one that we would give to the same challenge."""
    chap = challenged("7", Credentials(JOE, User("tgtuser", JOE["joe"])))
    assert refused(chap, good()) == LoginStatus.AUTHENTICATION_FAILURE
    assert chap.user is None


def test_only_255_bytes_of_a_secret_count() -> None:
    long = b"s" * 300
    chap = challenged("7", Credentials({"joe": long}))
    answer = response("7", long[:255], IDENTIFIER, CHALLENGE)
    chap.step({"CHAP_N": "joe", "CHAP_R": "0x" + answer.hex()})
    assert chap.done


def test_an_empty_secret_is_a_secret() -> None:
    chap = challenged("7", Credentials({"joe": b""}))
    answer = response("7", b"", IDENTIFIER, CHALLENGE)
    chap.step({"CHAP_N": "joe", "CHAP_R": "0x" + answer.hex()})
    assert chap.done


def test_unknown_user_cannot_pass_with_an_empty_secret() -> None:
    chap = challenged("7")
    answer = response("7", b"", IDENTIFIER, CHALLENGE)
    keys = {"CHAP_N": "nobody", "CHAP_R": "0x" + answer.hex()}
    assert refused(chap, keys) == LoginStatus.AUTHENTICATION_FAILURE


def test_challenges_differ() -> None:
    numbers = iter(range(256))
    chaps = [Chap(CREDENTIALS, lambda length: bytes([next(numbers)] * length)) for _ in range(2)]
    first, second = (chap.step({"CHAP_A": "5"}) for chap in chaps)
    assert first[1:] != second[1:]


def test_secrets_are_not_shown() -> None:
    chap = challenged()
    shown = f"{chap!r} {CREDENTIALS!r} {TARGET!r} {CREDENTIALS} {TARGET}"
    assert "secret1234" not in shown
    assert CHALLENGE.hex() not in shown


def test_credentials_require_authentication_when_there_is_a_user() -> None:
    assert CREDENTIALS.required
    assert not Credentials().required
    assert not Credentials(outgoing=TARGET).required
