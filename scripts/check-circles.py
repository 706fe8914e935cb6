#!/usr/bin/env python3
"""Fails if modules of a crate import each other in a circle. Test-only code does not count, nor do the tests' own crate and its support.

Between crates there is no circle, since cargo allows none. A module is a file; `use` lines and paths with `crate::`,
`super::` or a child's name are what it imports. A parent's own
children, and a child's parent where that only declares it, are no import.
"""
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
CRATES = [TOP, *sorted(path for path in (TOP / "crates").iterdir() if path.name != "e2e"), TOP / "xtask"]
TEST_ONLY = {"executable", "fuzzing", "messages", "samples", "troubleshooting", "tests"}


def module(path, root):
    parts = path.relative_to(root).with_suffix("").parts
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


def target(modules, own, path):
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


def imports_of(root):
    """Each module of the crate whose sources are in root, with those that it imports."""
    modules = {module(path, root): path for path in root.rglob("*.rs")}
    modules = {own: path for own, path in modules.items() if not TEST_ONLY & set(own)}
    imports = {}
    for own, path in modules.items():
        found = {target(modules, own, names) for names in paths(code(path))} - {None, own, ()}
        # A child that names its parent, and a parent that names its children, are one house.
        imports[own] = {other for other in found if own[: len(other)] != other and other[: len(own)] != own}
    return imports


def circles_of(imports):
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

    for node in imports:
        if node not in index:
            visit(node)
    return circles


def main():
    sys.setrecursionlimit(10_000)
    modules = links = bad = 0
    for crate in CRATES:
        imports = imports_of(crate / "src")
        modules += len(imports)
        links += sum(map(len, imports.values()))
        for circle in circles_of(imports):
            bad += 1
            print(f"circle in {crate.name}:", ", ".join("::".join(node) for node in sorted(circle)), file=sys.stderr)
            for node in sorted(circle):
                for other in sorted(imports[node] & set(circle)):
                    print(f"  {'::'.join(node)} -> {'::'.join(other)}", file=sys.stderr)
    print(f"{len(CRATES)} crates, {modules} modules, {links} imports between them, {bad} circles")
    sys.exit(bool(bad))


main()
