"""A short run that imports much, and does nothing with it."""

import importlib

for name in (
    "argparse",
    "ast",
    "asyncio",
    "concurrent.futures",
    "csv",
    "ctypes",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "email.message",
    "fractions",
    "http.client",
    "inspect",
    "ipaddress",
    "json",
    "logging.handlers",
    "multiprocessing",
    "pickle",
    "sqlite3",
    "statistics",
    "tarfile",
    "typing",
    "unittest.mock",
    "urllib.request",
    "xml.etree.ElementTree",
    "zipfile",
):
    importlib.import_module(name)
