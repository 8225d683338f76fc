"""Programs of the suite whose work is mostly strings and small trees: what general allocators are compared by, and what
costs most where each block has a neighbour that vouches for it."""

import sys
from pathlib import Path

from kernels import compile_source, sanitized
from measure import Row
from tools import tool


def appends(work: Path, scale: int) -> Row:
    """Lets strings grow by a few bytes at a time, thousands of them by turns (perl)."""
    script = work / "appends.pl"
    script.write_text(
        "my (@s, $x, $n); $x = 7;\n"
        f"for my $round (1 .. {20 * scale}) {{\n"
        "  @s = ('') x 4000;\n"
        '  for my $i (1 .. 60000) { $x = ($x * 1103515245 + 12345) % 2147483648; $s[$x % 4000] .= "$i,$x;"; }\n'
        "  my $all = ''; $all .= $_ for @s; $n += length $all;\n"
        "}\n"
        'print "$n\\n";\n'
    )
    return Row("perl: appends", (tool("perl"), str(script)))


def hashes(work: Path, scale: int) -> Row:
    """Makes many small hashes, sorts them by their fields and groups them (perl)."""
    script = work / "hashes.pl"
    script.write_text(
        "my ($x, $n) = (7, 0);\n"
        f"for my $round (1 .. {scale}) {{\n"
        "  my @all = map { $x = ($x * 1103515245 + 12345) % 2147483648;"
        ' { id => $_, name => "name $x", kind => $x % 97, tags => [$x % 7, $x % 11] } } 1 .. 20000;\n'
        "  my @sorted = sort { $a->{kind} <=> $b->{kind} || $a->{name} cmp $b->{name} } @all;\n"
        "  my %by; push @{$by{$_->{kind}}}, { %$_, place => $n++ } for @sorted;\n"
        "  for my $each (values %by) { $n += @{[sort { $b->{tags}[1] <=> $a->{tags}[1] } @$each]}; }\n"
        "}\n"
        'print "$n\\n";\n'
    )
    return Row("perl: small hashes", (tool("perl"), str(script)))


def expressions(work: Path, scale: int) -> Row:
    """Takes lines apart by regular expressions with captures, replaces and splits (perl)."""
    script = work / "expressions.pl"
    script.write_text(
        "my ($x, $n) = (7, 0); my @lines;\n"
        "for (1 .. 8000) { $x = ($x * 1103515245 + 12345) % 2147483648;\n"
        '  push @lines, "2026-11-$_ host$x app[$_]: user=u$x path=/a/b$_/c$x?q=$x&r=$_ took ${x}us"; }\n'
        f"for my $round (1 .. {3 * scale}) {{ my %seen;\n"
        "  for my $line (@lines) {\n"
        "    my %field = $line =~ /(\\w+)=([^ ?&]+)/g; $seen{$field{user}}++;\n"
        "    (my $other = $line) =~ s/(\\d+)/<$1>/g;\n"
        "    my ($host, $rest) = $other =~ /^\\S+ (\\S+) (.*)$/; my @words = split /[ =&?]/, $rest;\n"
        "    $n += @words + length $host;\n"
        "  }\n"
        "}\n"
        'print "$n\\n";\n'
    )
    return Row("perl: expressions", (tool("perl"), str(script)))


def trees(work: Path, scale: int) -> Row:
    """Reads an XML document into a tree, changes and writes it (CPython's parser and elements, each from malloc)."""
    document = work / "document.xml"
    rows = "".join(
        f'<item id="i{i}" kind="{i * 7919 % 97}"><name>item {i}</name><price unit="EUR">{i * 37 % 1000}.5</price>'
        f"<tags>{''.join(f'<tag>t{i % k}</tag>' for k in range(2, 8))}</tags></item>"
        for i in range(7_000)
    )
    document.write_text(f"<items>{rows}</items>")
    script = work / "trees.py"
    script.write_text(
        "import sys, xml.etree.ElementTree as tree\n"
        "n = 0\n"
        f"for round in range({scale}):\n"
        "    root = tree.parse(sys.argv[1]).getroot()\n"
        "    for item in list(root):\n"
        "        if item.get('kind') == '3':\n"
        "            root.remove(item)\n"
        "        else:\n"
        "            tree.SubElement(item, 'total').text = str(float(item.find('price').text) * 2)\n"
        "    n += len(tree.tostring(root)) + len(root.findall('.//tag'))\n"
        "print(n)\n"
    )
    return Row("python: XML", (sys.executable, str(script), str(document)), environment={"PYTHONMALLOC": "malloc"})


def queues(work: Path, scale: int) -> Row:
    """Hands strings from four threads to four others through queues (C++)."""
    tool("g++")
    words = ("4", str(400_000 * scale))
    return Row(
        "C++ queues, 8 threads",
        (str(compile_source("queues", work)), *words),
        builds={"asan": sanitized("queues", work, *words)},
    )


PROGRAMS = {"appends": appends, "hashes": hashes, "expressions": expressions, "xml": trees, "queues": queues}
