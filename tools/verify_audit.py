#!/usr/bin/env python3
"""Check what mlflow-reconciler's audit says, with nothing but Python 3.9 or newer, and without mlflow-reconciler.

    python3 -I verify_audit.py FILE --head HEADS [--key PUB]

FILE   a dossier (JSON), a sample of dossiers (ZIP), or a copy of an SQLite audit database
HEADS  heads of the log that were kept where who runs the database cannot write; without them nothing tells a record
       that was rebuilt as a whole
PUB    the Ed25519 public key that signs heads, in PEM or as NAME+ID+BASE64; without it no signature is checked

Exit 0: all agrees. Exit 1: something does not, named line by line. Exit 2: it cannot be checked.

What it proves: each row is as it was when it entered the log, and the log begins with what the heads stand for.
What it does not prove: anything about what was never recorded, nor about views of the database, which it does not read.
"""

import argparse
import base64
import hashlib
import json
import re
import sqlite3
import sys
import zipfile
import zlib
from contextlib import closing
from pathlib import Path

FORMAT, DOSSIER, SAMPLE = "mlflow-reconciler audit v1", "mlflow-reconciler dossier v1", "mlflow-reconciler sample v1"
# The tables whose rows are entries of the log, each with the column that names a row.
KEYS = dict.fromkeys(
    ("outcomes", "earlier_outcomes", "confirmations", "late_effects", "pause_events", "running_states", "abstentions",
     "resolutions", "observations", "attributions", "acknowledgements", "drifts", "watched_scopes", "redactions",
     "log_epochs"), "id")  # fmt: skip
KEYS |= {"policy_versions": "digest", "decisions": "decision_id"}
# What a sample's index says of a decision.
LISTED = ("decision_id", "decided_at", "model", "version", "target", "verdict", "mode")
MOST = 1 << 26  # Bytes of one piece of evidence, or of one dossier: no forged one fills the memory.


class Differs(Exception):
    """Something does not agree."""


class Unusable(Exception):
    """Nothing can be checked by what was named."""


def counted(number, what):
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def need(condition, sentence):
    if not condition:
        raise Differs(sentence)


def text_of(data):
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def leaf_of(table, row):
    return sha(b"\0", text_of({"format": FORMAT, "table": table, "row": row}).encode())


# --- the Merkle tree of RFC 9162 -----------------------------------------------------------------------------


def root_by_inclusion(leaf, index, size, proof):
    """Section 2.1.3.2: the root that a proof leads to."""
    need(0 <= index < size, f"entry {index} is not in a log of {size}")
    fn, sn = index, size - 1
    for part in proof:
        need(sn > 0, f"entry {index}: the proof is too long")
        if fn & 1 or fn == sn:
            leaf = sha(b"\1", part, leaf)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            leaf = sha(b"\1", leaf, part)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0, f"entry {index}: the proof is too short")
    return leaf


def check_consistency(first, second, first_root, second_root, proof):
    """Section 2.1.4.2: the tree of `second` entries begins with the tree of `first`."""
    need(0 < first <= second, f"a log of {second} entries cannot extend one of {first}")
    wrong = f"the log of {second} entries does not extend the head over {first}"
    if first == second:
        need(not proof and first_root == second_root, wrong)
        return
    need(proof, wrong)
    path = ([first_root] if first & (first - 1) == 0 else []) + list(proof)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for part in path[1:]:
        need(sn > 0, wrong)
        if fn & 1 or fn == sn:
            fr, sr = sha(b"\1", part, fr), sha(b"\1", part, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = sha(b"\1", sr, part)
        fn, sn = fn >> 1, sn >> 1
    need(fr == first_root and sr == second_root and sn == 0, wrong)


# --- heads: C2SP checkpoints and notes -----------------------------------------------------------------------


def base64_of(text):
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    return content if base64.b64encode(content).decode() == text else b""


class Head:
    def __init__(self, block):
        lines = block.split("\n")
        need(len(lines) >= 3 and lines[0] and re.fullmatch("[1-9][0-9]{0,17}", lines[1]), "is no head of a log")
        self.origin, self.size, self.root = lines[0], int(lines[1]), base64_of(lines[2])
        need(len(self.root) == 32, "is no head of a log")
        self.body, self.signatures = block + "\n", []

    def __str__(self):
        return f"the head over {self.size} entries"


def heads_in(text):
    """The heads of a file, or of the journal's lines, and how many parts of it are none."""
    # Before it nothing that a stranger can name may stand, such as a model.
    begins = r"(?m)^(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8} \S+ [^\s\[\]]+\[\d+\]: )?(?:\d\S+Z INFO )?log head: "
    text = re.sub(begins + r"(\S.*?)(?: \[cycle [0-9a-f]+\])?$",
                  lambda line: "\n" + line[1].replace("\\n", "\n") + "\n", text)  # fmt: skip
    heads, torn, signable = [], 0, False
    for block in re.split("\n{2,}", text.strip("\n")):
        try:
            if block.startswith("\u2014 "):
                lines, was_signable, signable = block.split("\n"), signable, False
                found = [(name, base64_of(text)) for name, _, text in (line[2:].partition(" ") for line in lines)]
                need(was_signable and all(line.startswith("\u2014 ") for line in lines), "")
                need(all(name and len(content) > 4 for name, content in found), "")
                heads[-1].signatures = found
            else:
                signable = False
                heads.append(Head(block))
                signable = True
        except Differs:
            torn += bool(block)
    return heads, torn


def public_key(text):
    """The 32 bytes of a key, and the only origin that it signs, if it says so."""
    lines = text.strip().splitlines() or [""]
    if lines[0].startswith("-----BEGIN PUBLIC KEY"):
        content = base64_of("".join(lines[1:-1]))
        if content[:12] == bytes.fromhex("302a300506032b6570032100") and len(content) == 44:
            return content[12:], None
    elif text.count("+") >= 2:
        name, id, encoded = text.strip().split("+", 2)
        content = base64_of(encoded)
        if len(content) == 33 and sha(name.encode(), b"\n", content)[:4].hex() == id:
            return content[1:], name
    raise Unusable("--key: is neither a public key for Ed25519 in PEM nor NAME+ID+BASE64")


def signed(head, key):
    """Whether a head is signed by a key; raises where a signature that names the key is wrong."""
    raw, name = key
    if name not in {None, head.origin}:
        return False
    id = sha(head.origin.encode(), b"\n\1", raw)[:4]
    mine = [content[4:] for name, content in head.signatures if name == head.origin and content[:4] == id]
    need(all(ed25519(raw, one, head.body.encode()) for one in mine), f"{head}: the signature is wrong")
    return bool(mine)


# Ed25519 as RFC 8032 says it (section 5.1.7), in extended coordinates.
P, Q = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n, point):
    result = (0, 1, 1, 0)
    while n:
        result, point, n = add(result, point) if n & 1 else result, add(point, point), n >> 1
    return result


def point_of(content):
    y = int.from_bytes(content, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - square) % P or (not x and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def ed25519(public, signature, message):
    a, r = point_of(public), point_of(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= Q or len(signature) != 64:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % Q
    left, right = times(s, point_of((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))), add(r, times(h, a))
    return not any((left[i] * right[2] - right[i] * left[2]) % P for i in (0, 1))


# --- evidence ------------------------------------------------------------------------------------------------


def shown(path):
    return path if path.isascii() and path.isprintable() else text_of(path)[1:-1]


def field_digest(path, value, salt):
    return sha(salt, text_of([path, value]).encode()).hex()


def all_of(digests):
    """The hash that stands for the digests of all fields."""
    return sha(text_of(digests).encode()).hex()


def evidence_digests(fields, salts, content, redacted):
    """The digests of the fields of a row of evidence; `redacted`: field and digest by position."""
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(content, MOST)
        entries = json.loads(text)
        need(unpacking.eof and not unpacking.unused_data and text_of(entries).encode() == text, "")
        left = [at for at, (_, *value) in enumerate(entries) if value]
        need(len(entries) == fields and len(salts) == 16 * len(left), "")
        gone = {at: shown(path) for at, (path, *value) in enumerate(entries) if not value}
        need(gone == {at: field for at, (field, _) in redacted.items()}, "")
        digests = {at: digest for at, (_, digest) in redacted.items()}
        for number, at in enumerate(left):
            digests[at] = field_digest(*entries[at], salts[16 * number : 16 * number + 16])
    except (Differs, ValueError, TypeError, zlib.error, RecursionError):
        raise Differs("its evidence was changed") from None
    return [digests[at] for at in range(len(entries))], zlib.compress(text, 9) == content


# --- a copy of an SQLite database ----------------------------------------------------------------------------


def text_or_bytes(cell):
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell


class Copy:
    def __init__(self, connection):
        connection.text_factory = text_or_bytes
        connection.row_factory = sqlite3.Row
        self.ask = connection.execute
        self.ask("PRAGMA trusted_schema=OFF")
        self.covered, self.odd = {"decision_checks": 0, "evidence": 0}, 0
        tables = {name for (name,) in self.ask("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self.columns = {}
        for table in (*KEYS, *self.covered, "log_leaves", "log_nodes", "log_state"):
            need(table in tables, f"{table}: there is no such table")
            self.columns[table] = {row["name"]: row["type"].upper() for row in self.ask(f"PRAGMA table_info({table})")}

    def rows(self, table, where, *values):
        names = ", ".join(f'"{name}"' for name in self.columns[table])
        return self.ask(f"SELECT {names} FROM {table} WHERE {where}", values).fetchall()

    def count(self, table):
        return self.ask(f"SELECT count(*) FROM {table} NOT INDEXED").fetchone()[0]

    def plain(self, table, row):
        """A row as it is hashed: what has a value, a number with a fraction as text."""
        plain = {}
        for name, kind in self.columns[table].items():
            cell = row[name]
            if kind == "BOOLEAN" and cell is not None:
                need(cell in (0, 1) and isinstance(cell, int), f"{name} holds neither true nor false")
                cell = bool(cell)
            need(not isinstance(cell, bytes), f"{name} holds bytes")
            if cell is not None:
                plain[name] = repr(cell) if isinstance(cell, float) else cell
        return plain

    def row_of(self, table, key):
        """The row that an entry is about, with what the entry covers besides."""
        column = KEYS[table]
        found = self.rows(table, f"{column} = ?", key)
        need(len(found) == 1 and str(found[0][column]) == key, "the row is missing" if not found else "is there twice")
        row = self.plain(table, found[0])
        if table == "decisions":
            checks = self.rows("decision_checks", "decision_id = ? ORDER BY position", key)
            self.covered["decision_checks"] += len(checks)
            row["checks"] = [self.plain("decision_checks", check) for check in checks]
            for check in row["checks"]:
                del check["decision_id"]
        if table in ("decisions", "confirmations"):
            row["evidence"] = self.evidence(row["evidence_key"] if table == "confirmations" else key)
        return row

    def evidence(self, key):
        found = self.rows("evidence", "evidence_key = ?", key)
        need(len(found) == 1, "its evidence is missing")
        self.covered["evidence"] += 1
        removed = self.rows("redactions", "evidence_key = ?", key)
        redacted = {row["position"]: (row["field"], row["digest"]) for row in removed}
        row = {"sealed": None, "digests": None, **dict(found[0])}
        digests, same = evidence_digests(row["fields"], row["salts"], row["content"], redacted)
        hashes = {name: row[name] for name in ("sealed", "digests")}
        if set(hashes.values()) == {None}:
            self.odd += not same
            return digests  # as earlier releases wrote it
        need(all(isinstance(one, bytes) for one in hashes.values()), "its evidence was changed")
        need(all_of(digests) == row["digests"].hex(), "its evidence was changed")
        need(redacted or sha(row["salts"], row["content"]) == row["sealed"], "its evidence was changed")
        self.odd += bool(redacted) and not same
        return {"fields": row["fields"], **{name: one.hex() for name, one in hashes.items()}}


def check_copy(path, heads):
    """Every difference, and a sentence on what agrees."""
    told, roots, sizes = [], {}, {head.size for head in heads}
    with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as connection:
        told += [
            f"the file is damaged: {one[0]}" for one in connection.execute("PRAGMA integrity_check") if one[0] != "ok"
        ]
        copy = Copy(connection)
        keys, peaks, size, first = {table: set() for table in KEYS}, [], 0, b""
        for leaf in copy.ask("SELECT leaf, entry, row_key, hash FROM log_leaves ORDER BY leaf"):
            named = f"{leaf['entry']!s:.40} {leaf['row_key']!s:.80} (entry {size} of the log)"
            hash_ = leaf["hash"] if isinstance(leaf["hash"], bytes) else b""
            try:
                need(leaf["leaf"] == size, "the log has a gap before it, or its number is none")
                need(leaf["entry"] in keys, "there is no such table")
                keys[leaf["entry"]].add(leaf["row_key"])
                need(
                    leaf_of(leaf["entry"], copy.row_of(leaf["entry"], leaf["row_key"])) == hash_, "the row was changed"
                )
            except (Differs, RecursionError, TypeError, ValueError) as error:
                told.append(f"{named}: {error if isinstance(error, Differs) else 'the row was changed'}")
            first, size = first or hash_, size + 1
            told += add_leaf(copy, peaks, hash_, size - 1)
            if size in sizes:
                roots[size] = root_of(peaks)
        counts = {table: len(known) for table, known in keys.items()} | copy.covered
        counts |= {"log_leaves": size, "log_nodes": size - bin(size).count("1")}
        for table, count in counts.items():
            if (has := copy.count(table)) != count:
                told.append(f"{table}: has {has} rows, and the log stands for {count}: rows were added or removed")
        state = [row[0] for row in copy.ask("SELECT size FROM log_state")]
        if state != [size]:
            told.append(f"the log says that it has {state} entries, and has {size}")
        epochs = [f"epoch {row['id'] + 1} began at {row['size']} entries: {row['reason']!r}"
                  for row in copy.rows("log_epochs", "typeof(id) = 'integer'")]  # fmt: skip
    origin = f"mlflow-reconciler/{first.hex()[:16]}"
    told += [sentence for head in heads if (sentence := compared(head, origin, size, roots.get(head.size)))]
    newest = max(head.size for head in heads)
    covered = f"entries {newest} to {size - 1} are newer than every head: nothing vouches for them yet"
    odd = f"{copy.odd} pieces of evidence hold what they held, in other bytes than this zlib writes"
    notes = [*([covered] if newest < size else []), *([odd] if copy.odd else [])]
    return told, [f"{size} entries of the log and their rows", *epochs, *notes]


def add_leaf(copy, peaks, hash_, index):
    """Adds a leaf to the peaks of the tree; yields what is wrong with the nodes that are complete with it."""
    level = 0
    while peaks and peaks[-1][0] == level:
        hash_, level = sha(b"\1", peaks.pop()[1], hash_), level + 1
        stored = copy.rows("log_nodes", "level = ? AND position = ?", level, index >> level)
        if [row["hash"] for row in stored] != [hash_]:
            yield f"node {level}/{index >> level} of the log does not stand for the entries below it"
    peaks.append((level, hash_))


def root_of(peaks):
    root = peaks[-1][1]
    for _, peak in reversed(peaks[:-1]):
        root = sha(b"\1", peak, root)
    return root


def compared(head, origin, size, root):
    if head.origin != origin:
        return f"{head} is of the log {head.origin!a}, and this is {origin}"
    if head.size > size:
        return f"the log is shorter than {head}: it has {size}: its end is missing, or the copy is older than the head"
    return None if head.root == root else f"the log does not extend {head}: an entry before it is not what it was"


# --- dossiers and samples ------------------------------------------------------------------------------------


def hash_from(text):
    need(isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text), "a proof holds what is no hash")
    return bytes.fromhex(text)


def members(data, *names):
    need(isinstance(data, dict) and sorted(data) == sorted(names), f"holds other members than {', '.join(names)}")
    return [data[name] for name in names]


def parsed(content, name):
    """JSON in the one form in which it is written, so that no byte can be another."""
    try:
        data = json.loads(content)
        need(json.dumps(data, indent=1, sort_keys=True, ensure_ascii=True) + "\n" == content.decode(), "")
    except (ValueError, RecursionError, Differs):
        raise Differs(f"{name}: is not the JSON that was written: changed, cut off, or something else") from None
    return data


def one_head(text):
    heads, torn = heads_in(text) if isinstance(text, str) else ([], 1)
    need(len(heads) == 1 and not torn, "holds no head")
    [head] = heads
    lines = [f"\u2014 {name} {base64.b64encode(content).decode()}\n" for name, content in head.signatures]
    need(text == head.body + "".join(["\n", *lines] if lines else []), "holds a head, and more than that")
    return head


def check_dossier(content, heads, key):
    """The decision's row, and by what it is vouched for."""
    format_, id, head, extends, entries, evidence = members(
        parsed(content, "dossier"), "format", "decision_id", "head", "extends", "entries", "evidence")  # fmt: skip
    need(format_ == DOSSIER, f"its format is another than {DOSSIER}")
    head = one_head(head)
    rows, last = {table: [] for table in KEYS}, -1
    for entry in entries:
        leaf, table, row, proof = members(entry, "leaf", "table", "row", "proof")
        need(type(leaf) is int and leaf > last and table in KEYS and isinstance(row, dict), "an entry is none")
        root = root_by_inclusion(leaf_of(table, row), leaf, head.size, [hash_from(part) for part in proof])
        need(root == head.root, f"entry {leaf} of the log, a row of {table}, is not in {head}")
        rows[table].append(row)
        last = leaf
    check_belongs(id, rows, evidence)
    return rows["decisions"][0], vouched(head, extends, last, heads, key)


def check_belongs(id, rows, evidence):
    """Every row is about the decision, and its evidence and its policy are there; and nothing else is."""
    need(len(rows["decisions"]) == 1 and rows["decisions"][0]["decision_id"] == id, "the decision is missing")
    [decision] = rows["decisions"]
    about = {"policy_versions": ("digest", {decision["policy_digest"]})}
    about["redactions"] = "evidence_key", {id, *(row["evidence_key"] for row in rows["confirmations"])}
    for table in ("outcomes", "earlier_outcomes", "confirmations", "late_effects"):
        about[table] = "decision_id", {id}
    for table, found in rows.items():
        column, allowed = about.get(table, ("decision_id", {id}))
        need(all(row.get(column) in allowed for row in found), f"a row of {table} is of another decision")
    need(len(rows["policy_versions"]) == 1, "the policy is missing")
    wanted = {id: decision["evidence"], **{row["evidence_key"]: row["evidence"] for row in rows["confirmations"]}}
    removed = {(row["evidence_key"], row["position"]): [row["field"], row["digest"]] for row in rows["redactions"]}
    for piece in evidence:
        key, fields = members(piece, "evidence_key", "fields")
        need(key in wanted, "evidence of another decision")
        digests = []
        for at, field in enumerate(fields):
            if isinstance(field, dict) and "digest" in field:
                gone, digest = members(field, "field", "digest")
                need(removed.pop((key, at), None) == [gone, digest], "a field is gone that nobody redacted")
            else:
                path, value, salt = members(field, "path", "value", "salt")
                need(isinstance(salt, str) and re.fullmatch("[0-9a-f]{32}", salt), "a salt is none")
                digest = field_digest(path, value, bytes.fromhex(salt))
            digests.append(digest)
        covered = wanted.pop(key)
        if isinstance(covered, dict):  # else each digest, as earlier releases wrote it
            digests = {"fields": len(digests), "digests": all_of(digests), "sealed": covered.get("sealed")}
        need(digests == covered, "the evidence is not what was judged")
    need(not wanted and not removed, "evidence is missing")


def vouched(head, extends, last, heads, key):
    """By what a dossier is vouched for: a kept head, a signature, or a kept head that its log extends."""
    by_key = key is not None and signed(head, key)
    need(heads or by_key, f"nothing vouches for it: {head} in it is not signed by the key")
    kept = [one for one in heads if one.body == head.body]
    if heads and not kept:
        need(extends is not None, f"nothing vouches for it: {head} in it is none of the kept ones")
    else:
        need(extends is None, "names a head that nothing asks for")
    if extends is not None:
        older, proof = members(extends, "head", "proof")
        older = one_head(older)
        need(older.origin == head.origin, "it extends a head of another log")
        check_consistency(older.size, head.size, older.root, head.root, [hash_from(part) for part in proof])
        need(any(one.body == older.body for one in heads), f"{older} that it extends is none of the kept ones")
        need(not older.signatures or any(one.signatures == older.signatures for one in heads), "another signature")
        if last >= older.size:
            return f"its log extends the kept head over {older.size} entries; it has rows that are newer than that"
        return f"its log extends the kept head over {older.size} entries, which stands for all of it"
    if kept:
        need(
            by_key or not head.signatures or any(one.signatures == head.signatures for one in kept), "another signature"
        )
        return f"the kept head over {head.size} entries" + (" and its signature" if by_key else "")
    return f"the signature of its head over {head.size} entries"


def in_file_names(id):
    """An id that is none of a daemon's could lead out of the folder: its dossier is named by its SHA-256."""
    ours = re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", id)
    return id if ours else "sha256-" + sha(id.encode("utf-8", "surrogatepass")).hex()


def check_sample(path, heads, key):
    told, agree = [], []
    with zipfile.ZipFile(path) as sample:
        for info in sample.infolist():
            need(info.file_size <= MOST, f"{info.filename!a}: is too large")
        index = parsed(sample.read("index.json"), "index.json")
        format_, drawn, how = members(index, "format", "drawn", "how")
        need(format_ == SAMPLE, f"its format is another than {SAMPLE}")
        seed, size, population = (how[name] for name in ("seed", "size", "population"))
        order = sorted(population, key=lambda id: (sha(f"{seed}\n{id}".encode()), id))[:size]
        need(len(set(population)) == len(population), "the population names a decision twice")
        need(
            order == [one["decision_id"] for one in drawn], "the sample is not what the seed draws from the population"
        )
        files = ["index.json", *(f"dossiers/{in_file_names(id)}.json" for id in order)]
        need(sorted(sample.namelist()) == sorted(files), "it holds other files than the index names")
        for one in drawn:
            named = in_file_names(one["decision_id"])
            try:
                row, by = check_dossier(sample.read(f"dossiers/{named}.json"), heads, key)
                need(one == {name: row[name] for name in LISTED}, "the index says something else of it")
                agree.append(f"{named}: {by}")
            except Differs as error:
                told.append(f"dossier {named}: {error}")
    dossiers, decisions = counted(len(agree), "dossier"), counted(len(population), "decision")
    return told, [f"{dossiers}, drawn from {decisions} that the index names", *agree]


# --- the command ---------------------------------------------------------------------------------------------


def trusted(heads, key):
    """The heads that vouch: with a key, those that it signed."""
    return heads if key is None else [head for head in heads if signed(head, key)]


def text_of_key(named):
    """What --key names: a file, or the key itself."""
    return Path(named).read_text("utf-8", "replace") if Path(named).is_file() else named


def check(asked):
    """What differs, what agrees, and how many heads vouched."""
    key = public_key(text_of_key(asked.key)) if asked.key else None
    heads, torn = heads_in(Path(asked.head).read_text("utf-8-sig", "replace")) if asked.head else ([], 0)
    if asked.head and not heads:
        raise Unusable(f"{asked.head}: has no head of a log: name a file of heads (audit.heads)")
    if torn:
        parts = "1 part of it is" if torn == 1 else f"{torn} parts of it are"
        print(f"{asked.head}: {parts} no head; the rest is read", file=sys.stderr)
    try:
        kept = trusted(heads, key)
        need(kept or not asked.head, f"{asked.head}: has no head that is signed by the key")
        with Path(asked.file).open("rb") as file:
            beginning = file.read(16)
        if beginning == b"SQLite format 3\0":
            need(kept, "a database is compared with heads: name them with --head")
            return (*check_copy(asked.file, kept), len(kept))
        if beginning.startswith(b"PK"):
            return (*check_sample(asked.file, kept, key), len(kept))
        _, by = check_dossier(Path(asked.file).read_bytes(), kept, key)
        return [], [f"the dossier is vouched for by {by}"], len(kept)
    except Differs as error:
        return [str(error)], [], 0
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, sqlite3.Error, zipfile.BadZipFile) as error:
        return [f"cannot be read as what was written: {type(error).__name__}: {error}"], [], 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--head", metavar="HEADS")
    parser.add_argument("--key", metavar="PUB")
    asked = parser.parse_args()
    if not asked.head and not asked.key:
        parser.error("nothing would vouch for FILE: name heads that were kept elsewhere with --head")
    try:
        told, agree, kept = check(asked)
    except OSError as error:
        parser.error(f"{error.filename}: cannot be read: {error.strerror}")
    except Unusable as error:
        parser.error(str(error))
    for sentence in told[:100]:
        print(sentence.encode("ascii", "backslashreplace").decode())
    if told:
        print(f"{asked.file}: not as it was recorded: {counted(len(told), 'difference')}", file=sys.stderr)
        return 1
    trust = "signatures checked" if asked.key else "signature not checked (--key): trust on first use"
    print("agrees: " + "\n  ".join(agree) + f"\n{counted(kept, 'head')}; {trust}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
