#!/usr/bin/env python3
"""Fails if modules of src/ import each other in a circle. Test-only code does not count.

A module is a file; `use` lines and paths with `crate::`, `super::` or a child's name are what it imports. A parent's own
children, and a child's parent where that only declares it, are no import.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent / "src"
TEST_ONLY = {"fuzzing", "messages", "samples", "troubleshooting", "tests"}


def module(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return tuple(part for part in parts if part not in ("lib", "main"))


def code(path):
    text = path.read_text()
    text = re.sub(r"#\[cfg\((?:any\()?test[^\n]*\)\]\s*(?:pub(?:\([^)]*\))? )?(?:mod \w+;|mod \w+ \{.*)", "", text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(?:\\.|[^"\\])*"', '""', text, flags=re.S)


def paths(text):
    """Every path of a `use` tree, and every other path that begins with crate or super."""
    def expand(prefix, tree):
        for part in split(tree):
            head, brace, rest = part.partition("{")
            names = [name for name in head.strip().split("::") if name]
            if brace:
                yield from expand(prefix + names, rest.rsplit("}", 1)[0])
            elif names:
                yield prefix + names
    def split(tree):
        depth, start = 0, 0
        for at, c in enumerate(tree):
            depth += (c == "{") - (c == "}")
            if c == "," and depth == 0:
                yield tree[start:at]
                start = at + 1
        yield tree[start:]
    for tree in re.findall(r"\buse\s+([^;]+);", text):
        yield from expand([], re.sub(r"\s+as\s+\w+", "", tree))
    for path in re.findall(r"\b(?:crate|super)(?:::\w+)+", text):
        yield path.split("::")


files = [path for path in ROOT.rglob("*.rs") if not TEST_ONLY & set(module(path))]
modules = {module(path): path for path in files}


def target(own, path):
    if path[0] == "crate":
        base, rest = (), path[1:]
    elif path[0] == "super":
        base, rest = own, path
        while rest and rest[0] == "super":
            base, rest = base[:-1], rest[1:]
    elif own + (path[0],) in modules:
        base, rest = own, path
    else:
        return None
    found = base if base in modules else None
    for name in rest:
        if base + (name,) not in modules:
            break
        base += (name,)
        found = base
    return found


imports = {}
for own, path in modules.items():
    found = {target(own, names) for names in paths(code(path))} - {None, own, ()}
    # A child that names its parent, and a parent that names its children, are one house.
    imports[own] = {other for other in found if own[: len(other)] != other and other[: len(own)] != own}

index, low, stack, circles = {}, {}, [], []


def visit(node):
    index[node] = low[node] = len(index)
    stack.append(node)
    for other in imports[node]:
        if other not in index:
            visit(other)
            low[node] = min(low[node], low[other])
        elif other in stack:
            low[node] = min(low[node], index[other])
    if low[node] == index[node]:
        at = stack.index(node)
        circle = stack[at:]
        del stack[at:]
        if len(circle) > 1:
            circles.append(circle)


sys.setrecursionlimit(10_000)
for node in modules:
    if node not in index:
        visit(node)
for circle in circles:
    print("circle:", ", ".join("::".join(node) for node in sorted(circle)), file=sys.stderr)
    for node in sorted(circle):
        for other in sorted(imports[node] & set(circle)):
            print(f"  {'::'.join(node)} -> {'::'.join(other)}", file=sys.stderr)
print(f"{len(modules)} modules, {sum(map(len, imports.values()))} imports, {len(circles)} circles")
sys.exit(bool(circles))
