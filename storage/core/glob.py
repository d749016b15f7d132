"""Match stream paths against a subscription's pattern. Section 6.2. Knows paths; nothing of subscriptions.

`*` stands for one whole segment, `**` for any number of them, none included; all else is literal.
"""


def literal_prefix(pattern: str) -> str:
    """Return what every path that the pattern matches begins with."""
    literal: list[str] = []
    for segment in pattern.split("/"):
        if segment in ("*", "**"):
            # `a/**` matches `a` too, so the slash before it is not common to all.
            return "/".join(literal) + ("/" if literal and segment == "*" else "")
        if "%2A" in segment:
            return "/".join(literal)
        literal.append(segment)
    return pattern


def matches(pattern: str, path: str) -> bool:
    """Say whether the whole path matches. Both are normalised, and without slashes at their ends."""
    wanted = [segment for segment in pattern.split("/") if segment]
    # The places of the pattern at which a match of the segments so far may stand: linear in both, whatever the stars.
    places = _skip_stars(wanted, {0})
    for segment in path.split("/"):
        if not segment:
            continue
        further = set()
        for place in places:
            if place == len(wanted):
                continue
            if wanted[place] == "**":
                further.add(place)
            elif wanted[place] == "*" or segment in (wanted[place], wanted[place].replace("%2A", "*")):
                further.add(place + 1)
        places = _skip_stars(wanted, further)
    return len(wanted) in places


def _skip_stars(wanted: list[str], places: set[int]) -> set[int]:
    """Add the places that are reached by letting `**` stand for nothing."""
    reached = set(places)
    for place in sorted(places):
        at = place
        while at < len(wanted) and wanted[at] == "**":
            at += 1
            reached.add(at)
    return reached
