"""A row of the table, and the table."""

import dataclasses
import statistics


@dataclasses.dataclass
class Row:
    name: str
    pileus: str
    # What was measured beside it, or the limit if there is nothing to measure.
    peer: str
    ratio: str
    goal: str
    met: bool
    # Footnotes: whole sentences.
    notes: list = dataclasses.field(default_factory=list)


def p50(values):
    return statistics.median(values)


def p99(values):
    return sorted(values)[-(len(values) // 100) - 1]


def milliseconds(seconds):
    return f"{seconds * 1000:.2f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def ratio(ours, theirs):
    """Ours in units of theirs; what is far smaller is easier read the other way round."""
    return f"{ours / theirs:.2f} ×" if ours > theirs / 10 else f"1 / {theirs / ours:.0f}"


def render(rows, color):
    head = ["", "Pileus", "peer or limit", "ratio", "goal", "met?"]
    lines, notes = [], []
    for row in rows:
        marks = ""
        for note in row.notes:
            notes.append(note)
            marks += f" [{len(notes)}]"
        lines.append([row.name + marks, row.pileus, row.peer, row.ratio, row.goal, "yes" if row.met else "NO"])
    widths = [max(len(line[at]) for line in [head, *lines]) for at in range(len(head))]

    def rule(left, middle, right):
        return left + middle.join("─" * (width + 2) for width in widths) + right

    def line(cells, paint=None):
        padded = [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:]))]
        if paint and color:
            padded[-1] = f"\033[{paint}m{padded[-1]}\033[0m"
        return "│ " + " │ ".join(padded) + " │"

    out = [rule("┌", "┬", "┐"), line(head), rule("├", "┼", "┤")]
    out += [line(cells, "32" if row.met else "1;31") for cells, row in zip(lines, rows)]
    out.append(rule("└", "┴", "┘"))
    out += [f"[{n}] {note}" for n, note in enumerate(notes, 1)]
    return "\n".join(out)
