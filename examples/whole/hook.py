"""What Meridian's events do to the balancers of a region.

    hook.py WORK NODE,NODE                  events as JSON on standard input: an [[events.command]]
    hook.py WORK NODE,NODE ready REGION     makes a region's servers ready again: before its drain is taken back

A region begins to drain: its HAProxy tells clients with kept connections to come anew (`Connection: close`). No answer
of any node leads there any more (`safe` in their status): its servers drain too, so that they can be stopped one by one.
A node that cannot be asked holds that up: it may still be answering.
"""
import json
import pathlib
import socket
import sys
import time
import urllib.request

WORK, NODES = pathlib.Path(sys.argv[1]), sys.argv[2].split(",")


def tell(region, *commands):
    """Says each command to both HAProxy of the region's pair."""
    for path in sorted(WORK.glob(f"{region}-?.sock")):
        for command in commands:
            with socket.socket(socket.AF_UNIX) as stream:
                stream.settimeout(2)
                try:
                    stream.connect(str(path))
                    stream.sendall(command.format(name=path.stem).encode() + b"\n")
                    stream.recv(4096)
                except OSError as error:  # one of the pair may be down
                    print(f"{path.name}: {error}", file=sys.stderr)


def announce(region, closes):
    tell(region, f"set map {WORK}/{{name}}.draining all {closes}")


def servers(region, state):
    tell(region, *(f"set server web/{region}-{number} state {state}" for number in range(1, 5)))


def drain_of(region, node):
    """The region's drain as a node has it; `None` where there is none."""
    token = (WORK / "token").read_text().strip()
    asked = urllib.request.Request(f"http://{node}:8053/v1/status", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, timeout=5) as reply:
        regions = json.load(reply)["regions"]
    return next((of.get("drain") for of in regions if of["name"].startswith(f"{region}@")), None)


def is_safe(region):
    try:
        drains = [drain_of(region, node) for node in NODES]
    except OSError as error:
        print(error, file=sys.stderr)
        return False
    return all(drain and drain["safe"] for drain in drains)


def log(text):
    with open(WORK / "hook.log", "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def drains(region):
    announce(region, "yes")
    log(f"{region} drains: kept connections are told to close")
    for _ in range(200):  # the command's timeout is a minute
        if is_safe(region):
            servers(region, "drain")
            return log(f"{region} is safe: its servers drain")
        time.sleep(0.2)
    sys.exit(f"{region} is not safe yet")  # the same events come again


def ready(region):
    servers(region, "ready")
    announce(region, "no")
    log(f"{region} is ready")


if sys.argv[3:4] == ["ready"]:
    ready(sys.argv[4])
else:
    # Only the last word on each region counts: those before it are history.
    last = {}
    for event in json.load(sys.stdin)["events"]:
        if event["kind"] == "region" and event["before"] != event["after"]:
            last[event["region"].split("@")[0]] = event
    for region, event in last.items():
        if event["after"] == "drain":
            drains(region)
        elif event["before"] == "drain":
            ready(region)
