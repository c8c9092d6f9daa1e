"""Both tiers on one page: what Meridian, HAProxy and nginx say of themselves, side by side.

    page.py [--html] --token FILE NODE... -- NAME=ADDRESS...
"""
import csv
import html
import io
import re
import sys
import urllib.request

AS_HTML = "--html" in sys.argv


def get(url, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=3) as reply:
        return reply.read().decode()


def metrics(text, name):
    """Samples of a metric: labels as text, and the value."""
    return re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.M)


def label(labels, key):
    found = re.search(rf'{key}="([^"]*)"', labels)
    return found.group(1) if found else ""


def whole(value):
    return f"{float(value):.0f}"


def meridian(nodes, token):
    yield "Meridian: regions", ["node", "region", "state", "load", "capacity", "offered"]
    for node in nodes:
        text = get(f"http://{node}:8053/metrics", token)
        states = {label(of, "region"): label(of, "state") for of, value in metrics(text, "meridian_region_state") if value == "1"}
        figures = {}
        for metric in ("load", "capacity", "degraded_ratio"):
            for of, value in metrics(text, f"meridian_region_{metric}"):
                figures[metric, label(of, "region")] = value
        for region, state in sorted(states.items()):
            cells = [figures.get((metric, region), "") for metric in ("load", "capacity")]
            offered = f"{float(figures.get(('degraded_ratio', region), 1)):.0%}"
            yield None, [node, region, state, *[whole(cell) if cell else "–" for cell in cells], offered]


def haproxy(machines):
    yield "HAProxy: pools", ["machine", "pool", "sessions", "limit", "in all", "2xx", "5xx", "retried", "up", "down"]
    for name, address in machines:
        rows = list(csv.DictReader(io.StringIO(get(f"http://{address}:8404/stats;csv").lstrip("# "))))
        for row in rows:
            if row["svname"] not in ("FRONTEND", "BACKEND") or row["stot"] in ("", "0"):
                continue
            servers = [of for of in rows if of["pxname"] == row["pxname"] and of["type"] == "2"]
            up = sum(of["status"].startswith(("UP", "no check")) for of in servers)
            down = sum(of["status"].startswith("DOWN") for of in servers)
            of_servers = [str(up), str(down)] if row["svname"] == "BACKEND" else ["–", "–"]
            kind = {"FRONTEND": "", "BACKEND": " (servers)"}[row["svname"]]
            cells = [row[key] or "–" for key in ("scur", "slim", "stot", "hrsp_2xx", "hrsp_5xx", "wretr")]
            yield None, [name, row["pxname"] + kind, *cells, *of_servers]


def nginx(machines):
    yield "nginx: connections", ["machine", "active", "accepted", "handled"]
    for name, address in machines:
        text = get(f"http://{address}:8405/stub_status")
        active = re.search(r"Active connections: (\d+)", text).group(1)
        accepted, handled, _ = re.search(r"^ (\d+) (\d+) (\d+)", text, re.M).groups()
        yield None, [name, active, accepted, handled]


def show(rows):
    table = []
    for title, cells in rows:
        if title:
            flush(table)
            table = [title]
        table.append(cells)
    flush(table)


def flush(table):
    if not table:
        return
    title, *rows = table
    if AS_HTML:
        print(f"<h2>{html.escape(title)}</h2><table>")
        for number, row in enumerate(rows):
            kind = "td" if number else "th"
            print("<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in row) + "</tr>")
        print("</table>")
        return
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    print(f"\n{title}")
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def main():
    arguments = [word for word in sys.argv[1:] if word != "--html"]
    with open(arguments[arguments.index("--token") + 1], encoding="utf-8") as file:
        token = file.read().strip()
    split = arguments.index("--")
    nodes = arguments[2:split]
    machines = [word.split("=") for word in arguments[split + 1 :]]
    if AS_HTML:
        print("<!doctype html><meta charset=utf-8><title>Both tiers</title><style>td,th{padding:0 1em 0 0;text-align:left}</style>")
    for rows in (meridian(nodes, token), haproxy(machines), nginx(machines)):
        show(rows)


main()
