"""table.py LINES.jsonl TABLE.json: the table that run.sh prints, also as JSON with the machine's description."""
import json, sys

from measure import machine

rows = [json.loads(line) for line in open(sys.argv[1])]
about = machine()
with open(sys.argv[2], "w") as out:
    json.dump({"machine": about, "rows": rows}, out, indent=1)
flags = ", ".join(f"{flag} {'yes' if there else 'no'}" for flag, there in about["flags"].items())
print(f"\n{about['cpu']}, {about['cores']} cores ({flags}), {about['threads']} threads, load {about['load']}")
print(f"\n{'bench':<15}{'rluf':>10}{'peer':>10}{'ratio':>8}{'goal':>7}{'by CPU':>8}  peer")
for row in rows:
    print(f"{row['bench']:<15}{row['rluf_s']:>8.3f} s{row['peer_s']:>8.3f} s{row['ratio']:>8.2f}{row['goal']:>7}{row['cpu_ratio']:>8.2f}  "
          f"{row['peer']}\n{'':15}{row['work']}; {row['threads']} threads, load {row['load']}\n{'':15}same work: {row['same_work']}")
print("\nSeconds are medians, ratios medians of the pairs that ran in turn; a ratio above 1 means that rluf is faster.\n"
      "By CPU: the same of CPU seconds, which a machine that does other work disturbs less.")
print(f"{sys.argv[2]} holds the table.")
