"""Takes secrets out of text before it is stored or shown. Names stay, values become `***`.

Covers: values of options, assignments, JSON members and HTTP headers whose *name* tells
(password, token, secret, key, credential ...), user-info in URLs, private key blocks, and
values whose *shape* tells (cloud and forge keys, signed web tokens). Over-masks on purpose:
a value that is hidden needlessly costs a reader a moment, a leaked one costs more. Not
covered: a secret that neither its name nor its shape gives away.

Names that only sound secret keep their values (`--sort-key id`, `--max-tokens 512`,
`--keyspace x`, `--tokenizer y`): see `_HARMLESS`. Pure text, in time linear in its length;
masking twice is masking once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MASK = "***"
"""What stands in place of a secret."""

_SECRET = re.compile(
    r"(?i)pass(?:word|wd|phrase|code)|secret|token|credential|key|"
    r"(?:^|[-_.])(?:pass|passin|passout|pwd|pw|auth|authorization|bearer|cookie|jwt|sig|"
    r"signature|otp)(?:$|[-_.])",
    re.ASCII,
)
_HARMLESS = re.compile(
    r"(?i)keyspaces?|keywords?|keyboards?|keyframes?|keystroke|keynote|monkey|turkey|donkey|"
    r"tokeni[sz](?:e[rd]?|ation)|compass|"
    r"(?:max|min|num|n|new|total|context|prompt|output|input|stop|pad|eos|bos)[-_.]?"
    r"(?:new[-_.]?)?tokens?|tokens?[-_.]?(?:count|limit|length|budget|size)|"
    r"(?:sort|partition|primary|foreign|join|group|hash|shard|cluster|row|column|index|dist|"
    r"distribution|merge|dedup|unique|natural|business|surrogate|composite|order|range|map|"
    r"reduce|bucket)(?:ing)?[-_.]?(?:by[-_.]?)?keys?|"
    r"keys?[-_.]?(?:cols?|columns?|fields?|index|size|bits|bytes|count|len|length|type|format|"
    r"sep|separator|order|range|range[-_.]?start|range[-_.]?end|name|names|id|serde|"
    r"deserializer|serializer|class)(?=$|[-_.])",
    re.ASCII,
)
_FLAG = re.compile(r"(?i)-{1,2}(?:no|without|skip|disable|ask)[-_].*|.*[-_.]?stdin", re.ASCII)
"""Options without a value although their name tells: --no-password, --password-stdin."""

_NAME = r"[A-Za-z0-9_.\-]{1,128}"
_START = r"(?<![A-Za-z0-9_.\-])"
_QUOTED = r"\"(?:[^\"\\]|\\.){0,4096}\"|'(?:[^'\\]|\\.){0,4096}'"
_BARE = r"[^\s\"'&;|]+"
_ASSIGNED = re.compile(
    rf"{_START}({_NAME})(=(?!=)|\s{{0,4}}:?=\s{{0,4}}(?=[\"'])|:\s{{0,4}}(?=[\"']))"
    rf"({_QUOTED}|{_BARE})",
    re.ASCII,
)
_MEMBER = re.compile(
    rf"(\\?[\"'])({_NAME})(\1\s{{0,4}}[:=]\s{{0,4}})(\\\"[^\"\\]*\\\"|{_QUOTED}|[^\s,}}\]]+)",
    re.ASCII,
)
_OPTION = re.compile(rf"(?<!\S)(-{{1,2}}{_NAME})(\s{{1,8}})({_QUOTED}|[^\s\"'][^\s]*)", re.ASCII)
_HEADER = re.compile(
    rf"{_START}((?:proxy-)?authorization|(?:set-)?cookie|x-[a-z0-9-]{{1,60}})(\s{{0,4}}:\s{{0,4}})"
    r"([^\s\"'][^\"'\r\n]*)",
    re.ASCII | re.IGNORECASE,
)
_BEARER = re.compile(r"(?i)\b(bearer|basic|digest)(\s{1,4})([A-Za-z0-9+/=._~\-]{8,})", re.ASCII)
_USER_INFO = re.compile(
    r"(?<![A-Za-z0-9+.\-])([A-Za-z][A-Za-z0-9+.\-]{0,20}://)"
    r"(?:[^\s/?#\"'@]*@(?:[^\s/?#\"'@]*@)*|(?![^\s:@/]*:\d+[/?#])[^\s/:@\"']{1,256}:[^\s@\"']{1,256}@)",
    re.ASCII,
)
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)|"
    r"(?<![A-Za-z0-9_\-])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}|"
    r"gh[oprsu]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}|glpat-[A-Za-z0-9_\-]{16,64}|"
    r"xox[abeoprs]-[A-Za-z0-9\-]{10,255}|AIza[A-Za-z0-9_\-]{30,64}|ya29\.[A-Za-z0-9_\-.]{16,512}|"
    r"GOCSPX-[A-Za-z0-9_\-]{16,64}|sk[-_](?:[a-z]{2,10}[-_])?[A-Za-z0-9_\-]{20,255}|"
    r"[rp]k_live_[A-Za-z0-9]{16,128}|hf_[A-Za-z0-9]{20,128}|npm_[A-Za-z0-9]{20,128}|"
    r"pypi-[A-Za-z0-9_\-]{40,512}|dckr_pat_[A-Za-z0-9_\-]{16,128}|dapi[0-9a-f]{32}|"
    r"SG\.[A-Za-z0-9_\-]{16,64}\.[A-Za-z0-9_\-]{16,128}|"
    r"eyJ[A-Za-z0-9_\-]{8,4096}\.[A-Za-z0-9_\-]{4,4096}\.[A-Za-z0-9_\-]{0,4096}"
    r")(?![A-Za-z0-9])",
    re.ASCII | re.DOTALL,
)
_LOOKS_LIKE_OPTION = re.compile(
    r"-[A-Za-z]|--[A-Za-z][A-Za-z0-9_.\-]*(?:=.*)?", re.ASCII | re.DOTALL
)
_ASSIGNMENT = re.compile(rf"(-{{0,2}}{_NAME})=(.+)", re.ASCII | re.DOTALL)

_GLUED = dict.fromkeys(("mysql", "mysqldump", "mysqladmin", "mysqlimport", "mariadb"), "-p")
_FOLLOWING = {"sshpass": ("-p",), "redis-cli": ("-a",)}
_USER_AND_PASSWORD = {"curl": ("-u", "--user", "-U", "--proxy-user")}


def mask_command(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a command line with secrets masked: as many words as came in.

    >>> mask_command(["load", "--token", "abc", "--db=pg://u:p@h/x", "--sort-key", "id"])
    ('load', '--token', '***', '--db=pg://***@h/x', '--sort-key', 'id')
    """
    programs = {word.rpartition("/")[2] for word in argv[:8]}
    masked: list[str] = []
    previous = ""
    for word in argv:
        if _awaits_secret(previous, programs) and word and not _LOOKS_LIKE_OPTION.fullmatch(word):
            masked.append(MASK)
        else:
            masked.append(_mask_word(word, previous, programs))
        previous = word
    return tuple(masked)


def mask_text(text: str) -> str:
    """Return free text with secrets masked; a text without any comes back as it was.

    >>> mask_text("export DB_PASSWORD=x; curl -H 'Authorization: Bearer abc'")
    "export DB_PASSWORD=***; curl -H 'Authorization: ***'"
    """
    text = _SHAPES.sub(MASK, text)
    text = _USER_INFO.sub(rf"\1{MASK}@", text)
    text = _HEADER.sub(_header, text)
    text = _BEARER.sub(rf"\1\2{MASK}", text)
    text = _MEMBER.sub(_member, text)
    text = _ASSIGNED.sub(_assigned, text)
    return _OPTION.sub(_option, text)


def mask_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return name -> text with the values of secret names, and secrets in the others, masked."""
    return {
        name: MASK if is_secret_name(name) and value else mask_text(value)
        for name, value in labels.items()
    }


def is_secret_name(name: str) -> bool:
    """Say whether what is called `name` should not be seen.

    >>> [is_secret_name(n) for n in ("db_password", "X-Api-Key", "sort_key", "max-tokens")]
    [True, True, False, False]
    """
    return _SECRET.search(_HARMLESS.sub("", name[-256:])) is not None


def _awaits_secret(option: str, programs: set[str]) -> bool:
    """Say whether the word after `option` is the value of a secret."""
    if not option.startswith("-") or any(letter.isspace() for letter in option):
        return False
    if any(option in _FOLLOWING[name] for name in programs & _FOLLOWING.keys()):
        return True
    return "=" not in option and not _FLAG.fullmatch(option) and is_secret_name(option)


def _mask_word(word: str, previous: str, programs: set[str]) -> str:
    if len(word) > 2 and any(word.startswith(_GLUED[name]) for name in programs & _GLUED.keys()):
        return word if word.startswith("--") else f"-p{MASK}"
    if any(previous in _USER_AND_PASSWORD[name] for name in programs & _USER_AND_PASSWORD.keys()):
        user, colon, _ = word.partition(":")
        return f"{user}:{MASK}" if colon else word
    assignment = _ASSIGNMENT.fullmatch(word)
    if assignment and is_secret_name(assignment.group(1)):
        return f"{assignment.group(1)}={MASK}"
    return mask_text(word)


def _in_quotes(value: str) -> str:
    for quote in ('\\"', '"', "'"):
        if value.startswith(quote) and value.endswith(quote) and len(value) >= 2 * len(quote):
            return f"{quote}{MASK}{quote}"
    return MASK


def _assigned(match: re.Match[str]) -> str:
    name, sign, value = match.groups()
    return f"{name}{sign}{_in_quotes(value)}" if is_secret_name(name) else match.group()


def _member(match: re.Match[str]) -> str:
    quote, name, sign, value = match.groups()
    if not is_secret_name(name):
        return match.group()
    return f"{quote}{name}{sign}{_in_quotes(value)}"


def _option(match: re.Match[str]) -> str:
    option, gap, value = match.groups()
    if _FLAG.fullmatch(option) or not is_secret_name(option) or _LOOKS_LIKE_OPTION.fullmatch(value):
        return match.group()
    return f"{option}{gap}{_in_quotes(value)}"


def _header(match: re.Match[str]) -> str:
    name, sign, _ = match.groups()
    return f"{name}{sign}{MASK}" if is_secret_name(name) else match.group()
