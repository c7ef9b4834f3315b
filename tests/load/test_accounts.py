"""Accounts: files as people make them, bad lines named and never shown, a share for each worker."""

from __future__ import annotations

import codecs
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.load.accounts import Accounts, check_columns
from wsoak.load.accounts_file import Account, BadAccounts, read_accounts

ANNE = {"phone": "1", "password": "a,b"}
BEN = {"phone": "2", "password": 'q"uote'}


def made(index: int) -> Account:
    return {"phone": str(index), "password": "p"}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("plain.csv", 'phone,password\n1,"a,b"\n2,"q""uote"\n', [ANNE, BEN]),
        ("bom.csv", '\ufeffphone,password\n1,"a,b"\n', [ANNE]),
        ("crlf.csv", 'phone,password\r\n1,"a,b"\r\n2,"q""uote"\r\n', [ANNE, BEN]),
        ("unended.csv", 'phone,password\n1,"a,b"', [ANNE]),
        ("blank lines.csv", '\nphone,password\n\n1,"a,b"\n\n', [ANNE]),
        ("spaces.csv", "phone, password\n1, secret \n", [{"phone": "1", "password": " secret "}]),
        (
            "quoted line end.csv",
            'phone,password\n1,"two\nlines"\n',
            [{"phone": "1", "password": "two\nlines"}],
        ),
        (
            "separators.csv",
            "phone,password\n1,a\x1c\x85\u2028b\n",
            [{"phone": "1", "password": "a\x1c\x85\u2028b"}],
        ),
        ("unicode.csv", "姓名,password\n三体,密码\n", [{"姓名": "三体", "password": "密码"}]),
        ("semicolons.csv", 'phone;password\r\n1;"a,b"\r\n', [ANNE]),
        ("tabs.tsv", 'phone\tpassword\n1\t"a,b"\n', [ANNE]),
        ("bars.csv", "phone|password\n1|a,b\n", [ANNE]),
        (
            "one semicolon.csv",
            'phone,pass;word,x\n1,"a,b",2\n',
            [{"phone": "1", "pass;word": "a,b", "x": "2"}],
        ),
        ("sep.csv", "sep=;\r\nphone;password\r\n1;a,b\r\n", [ANNE]),
        ("quoted sep.csv", '"sep=|"\nphone|password\n1|a,b\n', [ANNE]),
        ("sep in upper case.csv", 'SEP=,\nphone,password\n1,"a,b"\n', [ANNE]),
        ("emptied row.csv", 'phone,password\n,\n1,"a,b"\n ,\n', [ANNE]),
        ("trailing commas.csv", 'phone,password,,\n1,"a,b",,\n2,"q""uote",\n', [ANNE, BEN]),
        (
            "list.json",
            '[{"phone": "1", "password": "a,b"},\n {"phone": "2", "password": "q\\"uote"}]',
            [ANNE, BEN],
        ),
        ("upper case.JSONL", '{"phone": "1", "password": "a,b"}\n', [ANNE]),
        ("no suffix", 'phone,password\n1,"a,b"\n', [ANNE]),
        ("plain.jsonl", '{"phone": "1", "password": "a,b"}\n', [ANNE]),
        ("bom.jsonl", '\ufeff{"phone": "1", "password": "a,b"}\n', [ANNE]),
        ("crlf.jsonl", '{"phone": "1", "password": "a,b"}\r\n\r\n', [ANNE]),
        ("numbers.ndjson", '{"phone": 13900000002, "ok": true}', [{"phone": "13900000002", "ok": "true"}]),
        ("separators.jsonl", '{"password": "a\u2028\x85b"}\n', [{"password": "a\u2028\x85b"}]),
    ],
)
def test_a_file_is_read_as_its_author_meant_it(
    name: str, text: str, expected: list[Account], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    assert read_accounts(path) == expected


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("short.csv", b"phone,password\n1,a\n2\n3,SECRET\n", "Line 3 "),
        ("long.csv", b"phone,password\n\n1,SECRET,x\n", "Line 3 "),
        ("open quote.csv", b'phone,password\n1,"SECRET\n2,b\n', "Line 3 "),
        ("after quote.csv", b'phone,password\n1,"SECRET"x\n', "Line 2 "),
        ("no json.jsonl", b'{"phone": "1"}\n\n{"password": "SECRET"\n', "Line 3 "),
        ("list.jsonl", b'["SECRET"]\n', "Line 1 "),
        ("deep.jsonl", b'{"phone": 1}\n' + b"[" * 100_000, "Line 2 "),
        ("latin.csv", b"phone,password\n1,SECRET\xff\n", "is neither UTF-8 nor UTF-16 text"),
        ("unmarked.csv", "phone,password\n1,SECRET\n".encode("utf-16-le"), "holds null bytes"),
        ("cut.csv", codecs.BOM_UTF16_LE + b"p\0SECRET!", "is neither UTF-8 nor UTF-16 text"),
        ("after sep.csv", b"sep=;\nphone;password\n1;SECRET;x\n", "Line 3 "),
        ("no name.csv", b"phone,,password\n1,SECRET,x\n", "Column 2 "),
        ("twice.csv", b"phone,password,phone\n1,SECRET,x\n", "Column 3 "),
        ("value without a column.csv", b"phone,password,\n1,SECRET,x\n", "Line 2 "),
        ("object.json", b'{"phone": "SECRET"}', "is not a JSON array of objects"),
        ("texts.json", b'["SECRET"]', "is not a JSON array of objects"),
        ("empty.csv", b"", "holds no accounts"),
        ("header.csv", b"phone,password\n", "holds no accounts"),
        ("empty.jsonl", b"\n\n", "holds no accounts"),
    ],
)
def test_a_bad_file_is_one_sentence_that_shows_no_account(
    name: str, content: bytes, where: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadAccounts) as caught:
        read_accounts(path)
    sentence = str(caught.value)
    assert where in sentence
    assert str(path) in sentence
    assert sentence.endswith(".")
    assert "SECRET" not in sentence
    # nor does a traceback of it
    assert "SECRET" not in repr(caught.value.__cause__)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_a_file_is_read_in_the_encodings_that_spreadsheets_save(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "unicode.txt"
    mark = "\ufeff" if encoding.endswith("e") else ""
    path.write_bytes(f"{mark}phone\tname\r\n1\t三体\r\n".encode(encoding))
    assert read_accounts(path) == [{"phone": "1", "name": "三体"}]


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_a_file_that_cannot_be_opened_is_one_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(BadAccounts, match=r"^The accounts file .* cannot be read: [A-Z][a-z ]*\.$"):
        read_accounts(path)


@given(st.lists(st.dictionaries(st.text(), st.text()), min_size=1))
def test_any_objects_of_texts_survive_jsonl(accounts: list[Account]) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write("\n".join(map(json.dumps, accounts)).encode())
        file.flush()
        assert read_accounts(Path(file.name)) == accounts


@given(st.integers(1, 9), st.integers(1, 60))
def test_the_workers_shares_are_disjoint_and_complete(workers: int, count: int) -> None:
    known = [made(index) for index in range(max(count, workers))]
    shares = []
    for index in range(workers):
        accounts = Accounts(known, index, workers)
        shares.append([accounts.next("U", made)["phone"] for _ in known[index::workers]])
    given_out = [phone for share in shares for phone in share]
    assert len(given_out) == len(set(given_out)) == len(known)


@given(st.integers(1, 9), st.integers(1, 20))
def test_accounts_that_are_made_are_disjoint_and_without_gaps(workers: int, each: int) -> None:
    numbers = []
    for index in range(workers):
        accounts = Accounts((), index, workers)
        numbers += [int(accounts.next("U", made)["phone"]) for _ in range(each)]
    assert sorted(numbers) == list(range(workers * each))


def test_each_kind_of_user_begins_at_the_first_account() -> None:
    accounts = Accounts([ANNE, BEN])
    assert [accounts.next(kind, made) for kind in ("A", "B", "A", "B")] == [ANNE, ANNE, BEN, BEN]


def test_more_users_than_accounts_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    accounts = Accounts([ANNE, BEN])
    with caplog.at_level(logging.WARNING):
        given_out = [accounts.next("U", made) for _ in range(7)]
    assert given_out == [ANNE, BEN, ANNE, BEN, ANNE, BEN, ANNE]
    assert [record.getMessage() for record in caplog.records] == [
        "There are more users than accounts (2): accounts are shared from here on."
    ]


@pytest.mark.parametrize("known", [(), [made(index) for index in range(30)]])
def test_an_account_that_was_given_back_is_the_first_to_be_given_again(
    known: list[Account], caplog: pytest.LogCaptureFixture
) -> None:
    accounts = Accounts(known, worker_index=1, workers=3)
    for _ in range(10):
        taken = [accounts.take("U", made) for _ in range(10)]
        assert [account["phone"] for _, account in taken] == [str(1 + 3 * index) for index in range(10)]
        for number, _ in reversed(taken):
            accounts.give_back("U", number)
    assert caplog.records == []


@given(st.lists(st.integers(0, 5)))
def test_no_two_users_have_an_account_at_the_same_time(steps: list[int]) -> None:
    accounts = Accounts()
    held: dict[int, Account] = {}
    most = 0
    for step in steps:
        if step in held:
            del held[step]
            accounts.give_back("U", step)
        else:
            number, account = accounts.take("U", made)
            assert number not in held
            assert account == made(number)
            held[number] = account
        most = max(most, len(held))
        assert all(number < most for number in held)


def test_a_worker_without_a_share_is_told_so() -> None:
    with pytest.raises(BadAccounts, match="fewer accounts than there are workers"):
        Accounts([ANNE], worker_index=1, workers=2).next("U", made)


def test_an_account_without_what_the_scenario_needs_is_named_by_that() -> None:
    accounts = Accounts([{"Phone": "1", "user": "SECRET"}])
    with pytest.raises(BadAccounts) as caught:
        accounts.next("U", made)
    assert str(caught.value) == "An account in the accounts file has no password and no phone."


def test_an_account_may_hold_more_than_the_scenario_needs() -> None:
    account = ANNE | {"nickname": "Anne"}
    assert Accounts([account]).next("U", made) == account


NEEDED: dict[str, list[str]] = {"EchoUser": [], "DialogueUser": ["phone", "password"]}
NEEDS = "DialogueUser needs phone and password"


@pytest.mark.parametrize(
    ("name", "accounts", "sentence"),
    [
        (
            "a.csv",
            [{"user": "S3CRET", "pw": "S3CRET"}],
            f"The accounts file a.csv has the columns user and pw; {NEEDS}.",
        ),
        (
            "a.csv",
            [{"Phone": "1", "User_Name": "2"}],
            f"The accounts file a.csv has the columns Phone and User_Name; {NEEDS}.",
        ),
        ("a.csv", [{"phone": "S3CRET"}], f"The accounts file a.csv has the column phone; {NEEDS}."),
        # a header line was forgotten: it is an account
        (
            "a.csv",
            [{"139": "1", "S3CRET": "2"}],
            f"The accounts file a.csv has 2 columns of other names; {NEEDS}.",
        ),
        ("a.csv", [{"S3CRET": "2"}], f"The accounts file a.csv has 1 column of other names; {NEEDS}."),
        (
            "a.csv",
            [{"user": "1", "S3CRET": "2"}],
            f"The accounts file a.csv has the columns user and 1 other; {NEEDS}.",
        ),
        ("a.jsonl", [{"benutzer": "S3CRET"}], f"The accounts file a.jsonl has the column benutzer; {NEEDS}."),
        ("a.jsonl", [{"\x1b[2J": "S3CRET"}], f"The accounts file a.jsonl has the column \\x1b[2J; {NEEDS}."),
        (
            "a.jsonl",
            [ANNE, {"phone": "S3CRET"}],
            f"Account 2 of the accounts file a.jsonl has the column phone; {NEEDS}.",
        ),
        ("a.jsonl", [{}], f"The accounts file a.jsonl has no columns; {NEEDS}."),
    ],
)
def test_a_file_without_the_columns_that_a_class_needs_is_refused_by_both_their_names(
    name: str, accounts: list[Account], sentence: str
) -> None:
    with pytest.raises(BadAccounts) as caught:
        check_columns(Path(name), accounts, NEEDED)
    assert str(caught.value) == sentence
    assert "S3CRET" not in sentence


@pytest.mark.parametrize("accounts", [[ANNE, BEN], [ANNE | {"nickname": "Anne"}]])
def test_a_file_with_the_columns_that_all_classes_need_is_taken(accounts: list[Account]) -> None:
    check_columns(Path("a.csv"), accounts, NEEDED)
    check_columns(Path("a.csv"), accounts, {"EchoUser": ()})
