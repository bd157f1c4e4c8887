"""`python dump.py STORE OUT.json`: the rows of a partition's store, read without the engine.

Keys and values as hexadecimal digits. The process that owned the store must have ended.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rocksdict import AccessType, Options, Rdict


def main(store: str, out: str) -> None:
    options = Options(raw_mode=True)
    names = Rdict.list_cf(store, options)
    db = Rdict(
        store,
        options=options,
        column_families={name: options for name in names if name != "default"},
        access_type=AccessType.read_only(),
    )
    rows = {key.hex(): value.hex() for key, value in db.items()}
    db.close()
    Path(out).write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
