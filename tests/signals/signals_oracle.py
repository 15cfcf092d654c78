"""Every figure of tables/signals.json, calculated again with pandas, statsmodels, scipy and scikit-learn from a made-up
log whose users differ, with duplicates, a planted reactor, follow-ups and a day without return."""
import json, os, subprocess, sys, tempfile

try:
    import numpy as np
    import pandas as pd
    import statsmodels.api as sm
    from scipy.stats import binom, chi2, norm
    from sklearn.metrics import matthews_corrcoef
    from statsmodels.stats.meta_analysis import combine_effects
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.power import normal_power_het
    from statsmodels.stats.proportion import proportion_confint
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

rng = np.random.default_rng(11)
USERS, DAY, START = 700, 86400, 1_700_000_000 // 86400 * 86400
cases = np.array(["chat", "code", "play"])
praise, complaint, plain = "Thanks, that was helpful!", "No, this is wrong.", "tell me more about boats"
rows = []
for user in range(USERS):
    warmth, use = rng.normal(), rng.dirichlet([2, 1, 0.5])
    for turn in range(1 + rng.poisson(4)):
        love = rng.random() < (0.7 if user == 13 else 1 / (1 + np.exp(2.5 - warmth)))
        time = START + int(rng.random() * 20 * DAY)
        row = {"user_id": f"u{user}", "conversation_id": f"c{user}-{turn}", "timestamp": time, "use_case": str(rng.choice(cases, p=use)),
               "messages": [{"role": "user", "content": f"question {turn}"}], "response": f"answer {user}",
               "signals": {"love": int(love), "down": int(rng.random() < (0.05 if love else 0.2)), "odd": 2 if user == 3 else 0},
               "retained_14d": int(rng.random() < 1 / (1 + np.exp(-0.2 - 0.8 * warmth)))}
        if user == 13:
            row["use_case"] = "chat"
        if rng.random() < 0.9:
            row["signals"]["copy"] = int(rng.random() < 0.3)
        if rng.random() < 0.1:
            row.pop("retained_14d")
        rows.append(row)
        if rng.random() < 0.3:  # goes on in the same conversation
            said = str(rng.choice([praise, complaint, plain]))
            rows.append({**json.loads(json.dumps(row)), "timestamp": time + 60, "response": f"more {turn}",
                         "messages": row["messages"] + [{"role": "assistant", "content": row["response"]}, {"role": "user", "content": said}]})
for user in (13,):  # many more, so that chance cannot explain them
    for turn in range(30):
        rows.append({**json.loads(json.dumps(next(r for r in rows if r["user_id"] == "u13"))), "timestamp": START + turn * 3600,
                     "conversation_id": f"x{turn}", "response": f"planted {turn}", "signals": {"love": 1, "down": 0, "odd": 0}})
order = rng.permutation(len(rows))
rows = [rows[i] for i in order]
copies = [json.loads(json.dumps(rows[i])) for i in rng.integers(len(rows), size=25)]
rows += copies

NEGATIVE = ("down", "follow_up_complaint")
with tempfile.TemporaryDirectory() as folder:
    with open(folder + "/log.jsonl", "w") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    subprocess.run([os.environ["RLUF"], "signals", f"--data.interactions={folder}/log.jsonl", f"--run.directory={folder}/run",
                    "--signals.negative=down", "--signals.time_slices=5", "--signals.effect=0.15", "--run.threads=1"], check=True, stderr=subprocess.DEVNULL)
    table = json.load(open(folder + "/run/tables/signals.json"))
    choice = json.load(open(folder + "/run/data/signals.json"))

# The same rows, as a table.
frame = pd.DataFrame([{"line": i, "user": r["user_id"], "conversation": r["conversation_id"], "time": r["timestamp"], "case": r["use_case"],
                       "length": len(r["messages"]), "said": r["messages"][-1]["content"], "retained": r.get("retained_14d", np.nan),
                       "identity": json.dumps([r["user_id"], r["messages"], r["response"]]),
                       **{name: r["signals"].get(name, np.nan) for name in ("love", "down", "copy")}} for i, r in enumerate(rows)])
frame = frame.sort_values(["user", "time", "line"], kind="stable")
duplicates = frame.duplicated("identity").sum()
frame = frame[~frame.duplicated("identity")].reset_index(drop=True)
assert duplicates >= 25 - 5 and table["read"] == len(rows) and table["duplicates"] == duplicates and table["used"] == len(frame)
assert [one["name"] for one in table["left_out"]] == ["odd"]
day = frame.time // DAY
days = frame.assign(day=day).groupby("user").day.apply(set)
frame["return_next_day"] = [float(d + 1 in days[u]) if d + 1 < day.max() else np.nan for u, d in zip(frame.user, day)]
tone = {praise: 1, complaint: -1}
following = [tone.get(frame.said[later.index[0]], 0) if len(later := frame[(frame.user == row.user) & (frame.conversation == row.conversation)
             & (frame.index > i) & (frame.length > row.length)]) else 0 for i, row in frame.iterrows()]
frame["follow_up_praise"] = (np.array(following) > 0).astype(float)
frame["follow_up_complaint"] = (np.array(following) < 0).astype(float)
names = ["love", "down", "copy", "return_next_day", "follow_up_praise", "follow_up_complaint"]
assert sorted(one["name"] for one in table["signals"]) == sorted(names)
groups = pd.factorize(frame.user)[0]
z = norm.ppf(0.975)


def close(got, want, what, rtol=1e-7, atol=1e-10):
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=what)


def bounds(figure):
    return [figure["value"], figure["low"], figure["high"]]


def clustered(y, x, who, **kind):
    """Least squares with errors clustered by user, corrected by G / (G - 1) only; coefficients and covariance."""
    fit = sm.OLS(y, x).fit(cov_type="cluster", cov_kwds={"groups": who, "use_correction": False})
    g = len(np.unique(who))
    return fit.params, fit.cov_params() * g / (g - 1)


def wilson(p, n, variance):
    effect = variance / (p * (1 - p) / n) if 0 < p < 1 else 1
    return [p, *proportion_confint(p * n / effect, n / effect, method="wilson")]


def rate(values, who):
    p, cov = clustered(values, np.ones((len(values), 1)), who)
    return wilson(p[0], len(values), cov[0, 0])


def contrast(x, y, who, got, what):
    known = ~(np.isnan(x) | np.isnan(y))
    x, y, who = x[known], y[known], who[known]
    assert got["responses_with"] == x.sum() and got["both"] == (x * y).sum(), what
    if 0 < x.sum() < len(x) and 0 < y.sum() < len(y):
        close(got["phi"], matthews_corrcoef(y, x), what + " phi")
        params, cov = clustered(y, np.column_stack([np.ones(len(x)), x]), who)
        half = z * np.sqrt(cov[1, 1])
        close(bounds(got["difference"]), [params[1], params[1] - half, params[1] + half], what + " difference")
        if 0 < (x * y).sum() and 0 < ((1 - x) * y).sum():
            fit = sm.GLM(y, np.column_stack([np.ones(len(x)), x]), family=sm.families.Poisson()).fit(
                tol=1e-13, cov_type="cluster", cov_kwds={"groups": who, "use_correction": False})
            g = len(np.unique(who))
            b, half = fit.params[1], z * np.sqrt(fit.cov_params()[1, 1] * g / (g - 1))
            close(bounds(got["ratio"]), np.exp([b, b - half, b + half]), what + " ratio", rtol=1e-6)


sizes = frame.groupby("user").size()
checked = 0
for one in table["signals"]:
    s, x = one["name"], frame[one["name"]].to_numpy()
    known = ~np.isnan(x)
    a, tie, u = one["availability"], one["tie"], one["unambiguity"]
    assert a["events"] == np.nansum(x) and a["responses"] == known.sum() and one["in_every_row"] == bool(known.all())
    close(bounds(a["rate"]), rate(x[known], groups[known]), s + " rate")
    by_user = frame[known].groupby("user")[s].sum()
    close(bounds(a["user_share"]), [(by_user > 0).mean(), *proportion_confint((by_user > 0).sum(), len(by_user), method="wilson")], s + " users")
    p, cov = clustered(x[known], np.ones((known.sum(), 1)), groups[known])
    effect = cov[0, 0] / (p[0] * (1 - p[0]) / known.sum())
    close(a["design_effect"], effect, s + " design effect")
    for got in a["use_cases"]:
        part = known & (frame.case == got["name"]).to_numpy()
        assert got["events"] == x[part].sum() and got["responses"] == part.sum()
        if got["events"]:
            close(bounds(got["rate"]), rate(x[part], groups[part]), f"{s} in {got['name']}")
    # Ties.
    users = frame.groupby("user").agg(retained=("retained", "mean"), gave=(s, "max"), n=("line", "size"),
                                      **{c: ("case", lambda v, c=c: (v == c).mean()) for c in cases})
    users = users[users.retained.notna() & users.gave.notna()]
    users["gave"] = (users.gave > 0).astype(float)
    most = frame.case.value_counts().index
    design = np.column_stack([np.ones(len(users)), users.gave, np.log(users.n)] + [users[c] for c in most[1:]])
    fit = sm.GLM(users.retained, design, family=sm.families.Binomial()).fit(
        tol=1e-14, cov_type="cluster", cov_kwds={"groups": np.arange(len(users)), "use_correction": True})
    b, half = fit.params.iloc[1], z * fit.bse.iloc[1]
    close(bounds(tie["users"]["odds_ratio"]), np.exp([b, b - half, b + half]), s + " odds ratio", rtol=1e-6)
    close(tie["users"]["p"], fit.pvalues.iloc[1], s + " p", rtol=1e-5, atol=1e-12)
    on, off = design.copy(), design.copy()
    on[:, 1], off[:, 1] = 1, 0
    p1, p0 = fit.predict(on), fit.predict(off)
    gradient = ((p1 * (1 - p1))[:, None] * on - (p0 * (1 - p0))[:, None] * off).mean(0)
    half = z * np.sqrt(gradient @ fit.cov_params().to_numpy() @ gradient)
    close(bounds(tie["users"]["difference"]), [(p1 - p0).mean(), (p1 - p0).mean() - half, (p1 - p0).mean() + half], s + " adjusted", rtol=1e-6)
    # Examples needed: the power of the test of the adjusted difference in a log so many times as long is the one asked for.
    widths = {unit: tie[unit]["difference"]["high"] - tie[unit]["difference"]["low"] for unit in ("users", "responses")}
    assert tie["judged_by"] == min(widths, key=widths.get) and tie["odds_ratio"] == tie[tie["judged_by"]]["odds_ratio"]
    error = min(widths.values()) / 2 / z
    power = normal_power_het(0.15, a["needed_events"] / a["events"], 0.05, std_null=error, std_alternative=error)
    assert 0 <= power - 0.8 < 0.1, (s, power)
    single = frame.assign(x=x, earlier=np.log1p(frame.groupby("user").cumcount()))[known & frame.retained.notna()]
    columns = np.column_stack([np.ones(len(single)), single.x, single.earlier] + [single.case == c for c in most[1:]]).astype(float)
    by_response = sm.GLM(single.retained, columns, family=sm.families.Binomial()).fit(
        tol=1e-14, cov_type="cluster", cov_kwds={"groups": pd.factorize(single.user)[0], "use_correction": True})
    b, half = by_response.params.iloc[1], z * by_response.bse.iloc[1]
    close(bounds(tie["responses"]["odds_ratio"]), np.exp([b, b - half, b + half]), s + " odds ratio of responses", rtol=1e-6)
    ever, never = users.retained[users.gave == 1], users.retained[users.gave == 0]
    half = z * np.sqrt(ever.var() / len(ever) + never.var() / len(never))
    close(bounds(tie["user_difference"]), [ever.mean() - never.mean(), ever.mean() - never.mean() - half, ever.mean() - never.mean() + half], s + " user difference")
    for outcome, key, count in (("retained", "within_user", "within_users"), ("return_next_day", "within_return", "within_return_users")):
        if outcome == s:
            continue
        pair = pd.DataFrame({"user": frame.user, "x": x, "y": frame[outcome]}).dropna()
        both = pair.groupby("user").x.transform("nunique") == 2
        pair = pair[both]
        assert tie[count] == pair.user.nunique(), s
        centred = pair[["x", "y"]] - pair.groupby("user")[["x", "y"]].transform("mean")
        params, cov = clustered(centred.y.to_numpy(), centred.x.to_numpy()[:, None], pd.factorize(pair.user)[0])
        half = z * np.sqrt(cov[0, 0])
        close(bounds(tie[key]), [params[0], params[0] - half, params[0] + half], f"{s} {key}", rtol=1e-6)
    contrast(x, frame.retained.to_numpy(), groups, tie["retention"], s + " retention")

    # Unambiguity.
    opposite = [n for n in names if (n in NEGATIVE) != (s in NEGATIVE)]
    against = np.where(frame[opposite].notna().any(axis=1), (frame[opposite] == 1).any(axis=1), np.nan).astype(float)
    contrast(x, against, groups, u["opposite"], s + " opposite")
    bad = (frame[list(NEGATIVE)] == 1).any(axis=1).astype(float)
    following_bad = bad.groupby(frame.user).shift(-1).to_numpy()
    contrast(x, following_bad, groups, u["next_negative"], s + " next")
    for companion in u["companions"]:
        contrast(x, frame[companion["name"]].to_numpy(), groups, companion, f"{s} with {companion['name']}")
    slices = ((frame.time - frame.time.min()) * 5 // (frame.time.max() - frame.time.min() + 1)).to_numpy()
    counts = [(x[known & (slices == t)].sum(), (known & (slices == t)).sum()) for t in range(5)]
    assert [(one["events"], one["responses"]) for one in u["slices"]] == counts
    k, n = np.array(counts, float).T
    k, n = k[n > 0], n[n > 0]
    variance = effect * p[0] * (1 - p[0]) / n
    q = ((k / n - p[0]) ** 2 / variance).sum()
    close([u["drift_chi_square"], u["drift_p"]], [q, chi2.sf(q, len(n) - 1)], s + " homogeneity", rtol=1e-6)
    close(u["drift"], np.sqrt(max(0, combine_effects(k / n, variance, method_re="dl").tau2)) / p[0], s + " drift", rtol=1e-5, atol=1e-7)
    gave = by_user.to_numpy()
    close(u["gini"], np.abs(gave[:, None] - gave).mean() / 2 / gave.mean(), s + " Gini")
    close(u["top_1_percent_share"], np.sort(gave)[-int(np.ceil(0.01 * len(gave))):].sum() / gave.sum(), s + " top")
    per_case = {c: x[known & (frame.case == c).to_numpy()].mean() for c in cases}
    mine = frame[known].assign(e=frame[known].case.map(per_case)).groupby("user").agg(n=(s, "size"), k=(s, "sum"), e=("e", "sum"))
    tails = binom.sf(mine.k - 1, mine.n, (mine.e / mine.n).clip(upper=1))
    listed = mine[multipletests(tails, 0.05, "fdr_bh")[0]].assign(p=tails[multipletests(tails, 0.05, "fdr_bh")[0]])
    assert u["reactors"] == len(listed) and u["reactor_events"] == listed.k.sum(), (s, u["reactors"], listed)
    close(sorted(r["p"] for r in u["reactor_list"]), np.sort(listed.p)[:20], s + " tails", rtol=1e-6, atol=0)
    for r in u["reactor_list"]:
        limit = max(1, int(binom.isf(0.05, r["responses"], r["expected"] / r["responses"])))
        assert r["keeps"] == limit, (r, limit)
    checked += 1
love = next(one for one in table["signals"] if one["name"] == "love")
assert any(r["events"] > 25 for r in love["unambiguity"]["reactor_list"]), "the planted user is found"
assert len(choice["reactors"]["love"]) == love["unambiguity"]["reactors"]
print(f"{checked} signals over {len(frame)} responses of {USERS} users agree")
