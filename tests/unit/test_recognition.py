"""The same thing run again has the same key; two different scripts never share one."""

from __future__ import annotations

import shlex
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.core.command_line import Role, dissect, program_name
from ullage.core.errors import ConfigError
from ullage.core.ids import check_name
from ullage.core.recognition import recognise
from ullage.core.suffixes import suffix


def key(line: str, cwd: str = "/srv/jobs") -> str:
    return recognise(None, shlex.split(line), cwd).key


SAME = [
    ("python3 etl.py --day 2026-11-23", "python3 etl.py --day 2026-11-24"),
    ("python3 etl.py --day 20261123", "python3 etl.py --day 20251201"),
    ("python3 etl.py 2026-11-23T06:00:00Z", "python3 etl.py 2026-11-24T18:30:00+01:00"),
    ("python3 etl.py --until=1795413600", "python3 etl.py --until=1795500000"),
    ("python3 etl.py --input orders.csv", "python3 etl.py --input /data/big/orders-17.csv"),
    ("python3 etl.py a.csv", "python3 etl.py data/2026/11/23/b.csv"),
    ("python3 etl.py data/part-*.csv", "python3 etl.py data/part-1.csv data/part-2.csv"),
    ("python3 etl.py a.csv,b.csv", "python3 etl.py c.csv"),
    ("python3 etl.py --tmp /tmp/xyz", "python3 etl.py --tmp /var/tmp/abc/def"),
    ("python3 etl.py --rows 1000", "python3 etl.py --rows 2000000"),
    ("python3 etl.py --mem 4GiB", "python3 etl.py --mem 512MiB"),
    ("python3 etl.py --threads 2 -j4", "python3 etl.py --threads 16 -j8"),
    (
        "python3 etl.py --request 9f86d081-884c-4d65-9a2f-eaa0c55ad015",
        "python3 etl.py --request 1c5cc15b-0c12-4a4c-8f43-0e64ab3bfa3e",
    ),
    ("python3 etl.py --sha 9f86d081884c7d65", "python3 etl.py --sha 2c26b46b68ffc68f"),
    (
        "python3 etl.py --run-id manual__2026-11-23T00:00:00+00:00",
        "python3 etl.py --run-id scheduled__2026-11-24T00:00:00+00:00",
    ),
    ("python3 etl.py --label run-17", "python3 etl.py --label run-18"),
    ("python3 etl.py", "/opt/venv/bin/python3.11 -u etl.py"),
    ("python3 etl.py", "python3 /srv/jobs/etl.py"),
    ("python3 etl.py", "nice -n 10 timeout -k 5 60 python3 etl.py"),
    ("nohup sort", "sort"),
    ("env DAY=2026-11-23 ./job.sh", "env DAY=2026-11-24 ./job.sh"),
    ("/usr/bin/sort a.txt", "sort b.txt"),
    ("bash -c 'cat in/a.csv | sort > /tmp/1.txt'", "bash -c 'cat b.csv | sort > /tmp/x/2.txt'"),
    ("python3 /tmp/tmp.Xa1B2c3D4e/job.py", "python3 /tmp/tmp.Zz9Yy8Xx7w/job.py"),
    ("java -jar app-1.2.3.jar x.csv", "java -jar app-1.10.0.jar y.csv"),
    ("tool gs://lake/2026/11/23/*.parquet", "tool gs://lake/2026/11/24/*.parquet"),
    ("tool --token abc", "tool --token xyz"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_changes_between_two_runs_does_not_change_the_key(one: str, other: str) -> None:
    assert key(one) == key(other)


DIFFERENT = [
    ("python3 etl.py", "python3 etl2.py"),
    ("python3 step_1.py", "python3 step_2.py"),
    ("python3 a/etl.py", "python3 b/etl.py"),
    ("python3 /tmp/one.py", "python3 /tmp/two.py"),
    ("python3 -m jobs.orders", "python3 -m jobs.clicks"),
    ("python3 -c 'print(1)'", "python3 -c 'print(2)'"),
    ("bash -c './a.sh in.csv'", "bash -c './b.sh in.csv'"),
    ("bash -c 'sort a.csv'", "bash -c 'sort a.csv | uniq'"),
    ("python3 etl.py --mode full", "python3 etl.py --mode fast"),
    ("python3 etl.py --full", "python3 etl.py"),
    ("python3 etl.py a.csv", "python3 etl.py a.parquet"),
    ("python3 etl.py --config prod.yaml", "python3 etl.py --config test.yaml"),
    ("psql -f daily.sql", "psql -f weekly.sql"),
    ("java -Xmx4g -jar app.jar", "java -Xmx8g -jar app.jar"),
    ("spark-submit --class com.x.A app.jar", "spark-submit --class com.x.B app.jar"),
    ("tool gs://lake/x.csv", "tool gs://swamp/x.csv"),
    ("tool --model resnet50", "tool --model resnet101"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_things_have_different_keys(one: str, other: str) -> None:
    assert key(one) != key(other)


def test_a_name_is_the_key_whatever_the_command() -> None:
    workload = recognise("daily-orders", ["python3", "etl.py"], "/srv")
    assert workload.key == "daily-orders"
    assert workload.key_reason == "named by --name"
    assert workload.command == ("python", "/srv/etl.py")


@pytest.mark.parametrize("name", ["", "a b", "../x", "x\x1b[31m", "-rf", "é", "x" * 129])
def test_a_hostile_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="not allowed"):
        recognise(name, ["true"], "/")


def test_the_folder_tells_projects_apart_only_where_no_script_does() -> None:
    assert key("sort a.csv", "/srv/one") != key("sort a.csv", "/srv/two")
    assert key("sort a.csv", "/tmp/tmp.Xa1B2c3D4e") == key("sort a.csv", "/tmp/tmp.Zz9Yy8Xx7w")
    assert key("python3 /srv/x.py", "/home/a") == key("python3 /srv/x.py", "/home/b")
    assert key("python3 x.py", "/srv/one") != key("python3 x.py", "/srv/two")


def test_the_reason_says_what_was_kept_and_what_was_masked() -> None:
    workload = recognise(None, shlex.split("python3 etl.py --input a.csv --rows 5"), "/srv")
    assert "script 'etl.py'" in workload.key_reason
    assert "--input --rows" in workload.key_reason
    assert "1 path" in workload.key_reason
    assert "1 number" in workload.key_reason


def test_secrets_and_dates_do_not_reach_the_record() -> None:
    workload = recognise(
        None, shlex.split("tool --password hunter2 --day 2026-11-23 --api-token=abc123"), "/srv"
    )
    text = " ".join((*workload.command, workload.key, workload.key_reason))
    for secret in ("hunter2", "abc123", "2026-11-23"):
        assert secret not in text


def test_a_megabyte_and_hostile_bytes_are_survived() -> None:
    words = ["python3", "-c", "x" * 1_000_000, "\udcff\udcfe", "a\nb", "9" * 1_000_000, "=" * 9]
    workload = recognise(None, words, "/srv\udcff")
    assert workload.key.startswith("w-python-")
    assert sum(map(len, workload.command)) < 20_000
    "".join((*workload.command, workload.key_reason)).encode("utf-8")
    longer = ["python3", "-c", "x" * 1_000_001, *words[3:]]
    assert recognise(None, longer, "/srv\udcff").key != workload.key


def test_many_arguments_are_shown_cut() -> None:
    workload = recognise(None, ["tool", *(f"word{i}x" for i in range(5000))], "/")
    assert len(workload.command) == 65
    assert workload.command[-1] == "... 4937 more"


words = st.text(max_size=30) | st.from_regex(r"--?[a-z]{1,8}(=.{0,9})?", fullmatch=True)


@given(st.lists(words, max_size=8), st.text(max_size=30))
def test_any_command_line_has_a_stable_key_that_is_a_name(argv: list[str], cwd: str) -> None:
    workload = recognise(None, argv, cwd)
    assert check_name(workload.key) == workload.key
    assert len(workload.key) <= 60
    assert recognise(None, list(argv), cwd) == workload
    "".join((*workload.command, workload.key_reason)).encode("utf-8")


names = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)


@given(names, names, st.lists(st.sampled_from(["--fast", "--n", "7", "a.csv"]), max_size=3))
def test_two_scripts_never_share_a_key(one: str, other: str, rest: list[str]) -> None:
    keys = {recognise(None, ["python3", f"{n}.py", *rest], "/srv").key for n in (one, other)}
    assert len(keys) == len({one, other})


@given(
    st.dates(min_value=date(2000, 1, 1), max_value=date(2099, 12, 31)),
    st.integers(0, 10**9),
    st.uuids(),
    st.from_regex(r"[a-z]{1,8}", fullmatch=True),
)
def test_dates_counters_ids_and_places_never_count(
    day: object, number: int, uuid: object, name: str
) -> None:
    line = ["python3", "etl.py", "--day", str(day), "--rows", str(number), "--input"]
    line += [f"/tmp/{name}/{day}/part-{number}.csv", f"--trace={uuid}"]
    assert (
        recognise(None, line, "/srv").key
        == recognise(
            None,
            [
                *line[:3],
                "2026-11-23",
                "--rows",
                "3",
                "--input",
                "b.csv",
                "--trace=9f86d081-884c-4d65-9a2f-eaa0c55ad015",
            ],
            "/srv",
        ).key
    )


def test_the_anatomy_of_nested_commands() -> None:
    found = dissect(
        shlex.split("env A=1 nice -n 5 bash -ec 'X=2 python3 -W ignore s.py --in=f | wc -l > o'")
    )
    roles = [(word.role, word.text, word.option) for word in found]
    assert (Role.ENVIRONMENT, "1", "A") in roles
    assert (Role.PROGRAM, "bash", "") in roles
    assert (Role.ENVIRONMENT, "2", "X") in roles
    assert (Role.SCRIPT, "s.py", "") in roles
    assert (Role.VALUE, "f", "in") in roles
    assert (Role.OPERATOR, "|", "") in roles
    assert (Role.PROGRAM, "wc", "") in roles
    assert (Role.VALUE, "o", ">") in roles


@pytest.mark.parametrize("text", ["'open", 'echo "', "a && && ; |", "", "\x00"])
def test_broken_shell_text_is_code_or_words_but_no_error(text: str) -> None:
    assert dissect(["bash", "-c", text])[0].text == "bash"


def test_names_without_version_and_endings() -> None:
    assert program_name("/usr/bin/python3.12") == "python"
    assert program_name("pypy3") == "pypy"
    assert program_name("pythonic") == "pythonic"
    assert suffix("a.tar.gz") == ".tar.gz"
    assert suffix(".bashrc") == ""
