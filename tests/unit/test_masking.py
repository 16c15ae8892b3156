"""A corpus of secrets that must not be seen, and of words that must stay."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ullage.core.masking import MASK, is_secret_name, mask_command, mask_labels, mask_text

S = "hunter2Xq"
"""The secret of every line below."""

SECRET_LINES = [
    f"etl --password {S}",
    f"etl --password={S}",
    f"etl -password {S}",
    f"etl --db-passwd {S} --day 3",
    f"etl --PASSWORD {S}",
    f"etl --api_key={S}",
    f"etl --apiKey {S}",
    f"etl --aws-secret-access-key {S}",
    f"etl --client.secret={S}",
    f"etl --auth-token '{S} with spaces'",
    f"etl --credentials {S}",
    f"etl --passphrase {S} --pwd {S}",
    f"etl --password -{S}",
    f"env DB_PASSWORD={S} GITHUB_TOKEN={S} etl",
    f"X_TOKEN={S} etl",
    f"docker run -e MYSQL_ROOT_PASSWORD={S} image",
    f"java -Dspring.datasource.password={S} -jar a.jar",
    f"spark-submit --conf spark.hadoop.fs.s3a.secret.key={S} job.py",
    f"psql postgres://me:{S}@db.example.org:5432/orders",
    f"psql postgres://me:{S}@x@db/orders",
    f"psql postgres://me:{S}/y@db/orders",
    f"git clone https://{S}@git.example.org/a.git",
    f"etl --url=https://me:{S}@example.org/a?b=c",
    f"curl 'https://example.org/a?token={S}&day=3'",
    f"curl 'https://example.org/a?X-Amz-Signature={S}&day=3'",
    f"curl -H 'Authorization: Bearer {S}' https://example.org",
    f"curl -H 'X-Api-Key: {S}' https://example.org",
    f"curl --header 'Cookie: session={S}; b={S}'",
    f"curl -u me:{S} https://example.org",
    f"http example.org 'Authorization:Basic {S}=='",
    f"mysql -u me -p{S} orders",
    f"sshpass -p {S} ssh host",
    f"redis-cli -a {S} ping",
    f"openssl rsa -passin pass:{S}",
    f"bash -c 'export TOKEN={S}; etl'",
    f"bash -c 'etl --password {S} | sort'",
    f'bash -c "etl --password \\"{S}\\" x"',
    f"python -c 'connect(password=\"{S}\")'",
    f'python -c \'d = {{"secret_key": "{S}"}}\'',
    f'etl \'{{"user": "me", "password": "{S}"}}\'',
    'etl \'{"password":"a\\"' + S + "\"}'",
    f"etl \"{{'api_token': '{S}'}}\"",
    f"etl '-----BEGIN RSA PRIVATE KEY-----\n{S}\n-----END RSA PRIVATE KEY-----'",
]


@pytest.mark.parametrize("line", SECRET_LINES)
def test_a_secret_is_not_seen(line: str) -> None:
    words = shlex.split(line)
    masked = mask_command(words)
    assert S not in " ".join(masked)
    assert len(masked) == len(words)
    assert masked[0] == words[0] or S in words[0]
    assert MASK in " ".join(masked)


SHAPES = [
    "AKIA" + "Q7" * 8,
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1B2_" * 8,
    "glpat-" + "a1B2-" * 4,
    "xoxb-" + "1234567890-" * 2 + "abc",
    "AIza" + "Sy_x-" * 7,
    "ya29." + "a0Af" * 8,
    "sk-proj-" + "a1B2" * 8,
    "hf_" + "aB3d" * 8,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP-mB92K27uhbU",
]


@pytest.mark.parametrize("secret", SHAPES)
def test_a_secret_is_known_by_its_shape(secret: str) -> None:
    for text in (secret, f"see {secret}, please", f"--x={secret}"):
        assert secret not in mask_text(text)
        assert secret not in mask_command(["etl", text])[1]


HARMLESS_LINES = [
    "python3 etl.py --input orders.csv --day 2026-11-23",
    "cassandra --keyspace orders",
    "etl --sort-key id --partition-key day --primary_key=id --group-keys a,b",
    "etl --key-column id --key-field=x --key-size 2048",
    "train --max-tokens 512 --num_tokens=3 --tokenizer bert --token-count 7",
    "etl --keywords a,b --keyboard qwerty",
    "etl --no-password orders.csv",
    "docker login --password-stdin registry.example.org",
    "etl --bypass x --passes 3 --compass north",
    "etl --token --verbose",
    "curl https://example.org:8080/a@2/b?day=3",
    "git clone ssh://git.example.org/a.git",
    "mysql -p -u me orders",
    "sort -k 2 -t , a.csv",
    "bash -c 'cat a.csv | sort > b.csv && echo done: ok'",
    "python -c 'print(monkey == 3)'",
    "etl a=b --c=d e:f me@example.org",
]


@pytest.mark.parametrize("line", HARMLESS_LINES)
def test_what_is_no_secret_stays(line: str) -> None:
    words = tuple(shlex.split(line))
    assert mask_command(words) == words


def test_names_stay_and_only_values_go() -> None:
    masked = mask_command(shlex.split("etl --db-password x API_TOKEN=y --url=pg://u:p@h/db in.csv"))
    assert masked == (
        "etl", "--db-password", MASK, f"API_TOKEN={MASK}", f"--url=pg://{MASK}@h/db", "in.csv",
    )  # fmt: skip


def test_labels_are_masked_by_their_names_and_by_what_they_hold() -> None:
    labels = {"db_password": S, "mode": "full", "url": f"pg://u:{S}@h", "sort_key": "id"}
    assert mask_labels(labels) == {
        "db_password": MASK, "mode": "full", "url": f"pg://{MASK}@h", "sort_key": "id",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [("password", True), ("x-auth-token", True), ("sshKey", True), ("sig", True), ("jwt", True),
     ("author", False), ("design", False), ("passenger", False), ("KeySpace", False)],
)  # fmt: skip
def test_names(name: str, is_secret: bool) -> None:
    assert is_secret_name(name) is is_secret


words = st.lists(
    st.sampled_from(
        ["--token", "--password=", "=", ":", "@", "://", '"', "'", "\\", " ", "key", "&"]
    )
    | st.text(max_size=6),
    max_size=8,
).map("".join)


@given(st.lists(words, max_size=6))
@example(["--token =", "="])
def test_masking_twice_is_masking_once(argv: list[str]) -> None:
    once = mask_command(argv)
    assert len(once) == len(argv)
    assert mask_command(once) == once


@given(words)
def test_text_is_masked_once(text: str) -> None:
    once = mask_text(text)
    assert mask_text(once) == once


@given(st.from_regex(r"[A-Za-z0-9_+/~^%$-]{1,30}", fullmatch=True).filter(lambda s: s != MASK))
def test_no_value_of_a_secret_option_comes_through(secret: str) -> None:
    secret = f"Zq{secret}"
    for argv in (["--password", secret], [f"--token={secret}"], [f"A_SECRET={secret}"]):
        assert secret not in " ".join(mask_command(["etl", *argv]))
    assert secret not in mask_text(f"x://u:{secret}@host and --api-key {secret}")


@pytest.mark.parametrize("part", ["a", "a=1 ", "://", '"', "'a", '\\"', "-----BEGIN ", "eyJ", "@"])
def test_a_megabyte_of_nonsense_is_no_trap(part: str) -> None:
    text = part * (1_000_000 // len(part))
    assert isinstance(mask_text(text), str)
