"""Draws what `headwater bench soak --json` has printed.

    pip install matplotlib
    headwater bench soak --json > soak.jsonl
    python3 docs/soak.py soak.jsonl docs/soak.svg
"""

import json
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "headwater"
import matplotlib.pyplot as plt

MIB = 1 << 20


def main(source, target):
    lines = [json.loads(line) for line in open(source)]
    samples = [line for line in lines if line.get("sample") == "soak"]
    minutes = [sample["seconds"] / 60 for sample in samples]

    def draw(axes, title, curves, scale="linear"):
        for label, name, unit in curves:
            axes.plot(minutes, [(sample[name] or 0) / unit for sample in samples], label=label, linewidth=1)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_yscale(scale)
        if scale == "linear":
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, frameon=False)

    figure, axes = plt.subplots(3, 2, figsize=(10, 9), sharex=True)
    draw(axes[0][0], "memory, MiB", [("scheduler", "rss_bytes", MIB), ("two workers", "workers_rss_bytes", MIB)])
    draw(axes[0][1], "store on the disk, MiB", [("store", "disk_bytes", MIB)])
    draw(axes[1][0], "an append, ms", [("p50", "append_p50_us", 1000), ("p99", "append_p99_us", 1000)], "log")
    draw(axes[1][1], "a task, ms", [("p50", "task_p50_us", 1000), ("p99", "task_p99_us", 1000)], "log")
    draw(axes[2][0], "open files of the scheduler", [("files", "open_files", 1)])
    draw(axes[2][1], "records read by monitors, thousands in 10 s", [("records", "records_read", 1000)])
    for bottom in axes[2]:
        bottom.set_xlabel("minutes", fontsize=9)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
