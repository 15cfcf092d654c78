"""Makes a log, runs the stage on 1 and 2 ranks, and recomputes from the JSON lines what the HDF5 file must hold."""
import collections, gzip, json, math, os, random, subprocess, sys, tempfile

try:
    import h5py, numpy, tokenizers
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

build = os.environ["RLUF_BUILD"]


def program(name):
    return os.path.join(build, name)


def rows_of_log(count):
    draw = random.Random(4)
    words = "hello Ünïcode 你好 🙂 code() {return 1;} <|im_end|> plain text again".split(" ")
    rows = []
    for i in range(count):
        messages = []
        for turn in range(draw.randrange(1, 14)):
            role = "user" if turn % 2 == 0 else "assistant"
            messages.append({"role": role, "content": " ".join(draw.choices(words, k=draw.randrange(1, 30)))})
        if messages[-1]["role"] == "assistant":
            messages.pop()
        rows.append({"user_id": f"u{draw.randrange(40)}", "timestamp": 5000 + draw.randrange(500), "messages": messages,
                     "response": " ".join(draw.choices(words, k=draw.randrange(1, 60))),
                     "signals": {"love": int(draw.random() < 0.05)}})
        if draw.random() < 0.03:
            rows.append(json.loads(json.dumps(draw.choice(rows))))
    return rows


def expected_documents(rows, tokenizer, max_turns, max_tokens):
    start, end = tokenizer.token_to_id("<|im_start|>"), tokenizer.token_to_id("<|im_end|>")
    cache = {}

    def ids(text):
        if text not in cache:
            tokenizer_text = text.replace("<|im_end|>", "<|im_\0end|>")  # a user's text never becomes a special token
            if tokenizer_text == text:
                cache[text] = tokenizer.encode(text).ids
            else:
                cache[text] = plain.encode(text).ids
        return cache[text]

    documents = []
    for row in rows:
        header = [start] + ids("assistant\n")
        answer = ids(row["response"]) + [end]
        if len(header) + len(answer) > max_tokens:
            raise SystemExit("the sample holds too long a response")
        parts = [[start] + ids(m["role"] + "\n" + m["content"]) + [end] + ids("\n") for m in row["messages"][-max_turns:]]
        budget = max_tokens - len(header) - len(answer)
        while len(parts) > 1 and sum(map(len, parts)) > budget:
            parts.pop(0)
        context = sum(parts, [])
        context = context[max(0, len(context) - budget):]
        documents.append((context + header, answer))
    return documents


with tempfile.TemporaryDirectory() as folder:
    subprocess.run([program("simulation_stage"), folder + "/sim", "10"], check=True)
    base = folder + "/sim/world/base"
    tokenizer = tokenizers.Tokenizer.from_file(base + "/tokenizer.json")
    document = json.load(open(base + "/tokenizer.json"))
    document["added_tokens"] = []
    plain = tokenizers.Tokenizer.from_str(json.dumps(document))

    rows = rows_of_log(1500)
    log = folder + "/log.jsonl.gz"
    with gzip.open(log, "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    files = []
    for ranks in (1, 2):
        run = f"{folder}/run{ranks}"
        subprocess.run(["mpirun", "--oversubscribe", "--allow-run-as-root", "--bind-to", "none", "-n", str(ranks),
                        program("dataset_stage"), run, base, f"data.interactions={log}", "data.max_turns=6",
                        "data.max_tokens=400", "data.positive_rate=0.2", "data.holdout_share=0.15"], check=True)
        files.append(h5py.File(run + "/data/love.h5"))
        table = json.load(open(run + "/tables/dataset.json"))["love"]

    def columns(file):
        found = {}
        file.visititems(lambda name, item: found.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None)
        return found

    first, second = map(columns, files)
    assert first.keys() == second.keys() and all(numpy.array_equal(first[name], second[name]) for name in first)

    # Order of time, then of lines; the first of equal rows stays; the last share is held out, ties on the older side.
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["timestamp"], i))
    seen, kept = set(), []
    for i in order:
        key = json.dumps([rows[i]["user_id"], rows[i]["messages"], rows[i]["response"]])
        if key not in seen:
            seen.add(key)
            kept.append(rows[i])
    assert len(rows) == table["read"] and len(rows) - len(kept) == table["duplicates"] > 10
    border = len(kept) - math.floor(0.15 * len(kept) + 0.5)
    while 0 < border < len(kept) and kept[border]["timestamp"] == kept[border - 1]["timestamp"]:
        border += 1
    train, holdout = kept[:border], kept[border:]
    documents = expected_documents(kept, tokenizer, 6, 400)

    offsets, tokens = first["holdout/offsets"], first["holdout/tokens"]
    assert len(offsets) == len(holdout) + 1 == table["holdout"] + 1
    for i, row in enumerate(holdout):
        context, answer = documents[border + i]
        assert tokens[offsets[i]:offsets[i + 1]].tolist() == context + answer, i
        assert first["holdout/response_starts"][i] == len(context)
    assert first["holdout/labels"].tolist() == [row["signals"]["love"] for row in holdout]
    assert first["holdout/timestamps"].tolist() == [row["timestamp"] for row in holdout]
    hashes = collections.defaultdict(set)
    for row, user in zip(holdout, first["holdout/users"]):
        hashes[row["user_id"]].add(int(user))
    assert all(len(found) == 1 for found in hashes.values()) and len({min(f) for f in hashes.values()}) == len(hashes)

    # Every positive is trained on, negatives are a subset in their order.
    written = [tuple(first["train/tokens"][a:b]) for a, b in zip(first["train/offsets"], first["train/offsets"][1:])]
    labels = first["train/labels"].tolist()
    positives = [tuple(sum(documents[i], [])) for i in range(border) if train[i]["signals"]["love"]]
    assert [text for text, label in zip(written, labels) if label] == positives
    negatives = iter(tuple(sum(documents[i], [])) for i in range(border) if not train[i]["signals"]["love"])
    assert all(text in negatives for text, label in zip(written, labels) if not label)
    natural = len(positives) / len(train)
    rate = len(positives) / len(labels)
    logit = lambda p: math.log(p / (1 - p))
    assert abs(first["prior_correction"][0] - (logit(natural) - logit(rate))) < 1e-9
    assert 0.13 < rate < 0.3 and abs(table["training_rate"] - rate) < 1e-12
    print("equal:", len(written), "training rows,", len(holdout), "held out")
