"""The simulated world as other programs see it: HF tokenizers, transformers, and a bag-of-words model of the log."""
import gzip, json, os, subprocess, sys, tempfile

try:
    import tokenizers, transformers
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

program = os.path.join(os.environ["RLUF_BUILD"], "tests/simulation/simulation_stage")
if not os.path.exists(program):
    program = os.path.join(os.environ["RLUF_BUILD"], "simulation_stage")
with tempfile.TemporaryDirectory() as folder:
    subprocess.run([program, folder, "60000"], check=True)
    world = folder + "/world"
    read = lambda name: [json.loads(line) for line in gzip.open(f"{world}/{name}.jsonl.gz", "rt", encoding="utf-8")]
    rows = read("interactions")

    tokenizer = tokenizers.Tokenizer.from_file(world + "/base/tokenizer.json")
    words = tokens = 0
    for row in rows[:500]:
        encoded = tokenizer.encode(row["response"])
        assert tokenizer.decode(encoded.ids) == row["response"]
        words += len(row["response"].split())
        tokens += len(encoded.ids)
    assert tokens <= 1.1 * words, (tokens, words)
    text = "<|im_start|>user\n"
    assert tokenizer.encode(text).ids[0] == tokenizer.token_to_id("<|im_start|>")
    model = transformers.AutoModelForCausalLM.from_pretrained(world + "/base")
    assert model.config.vocab_size == tokenizer.get_vocab_size()

    love = [row["signals"]["love"] for row in rows]
    half = len(rows) // 2
    vectorizer = CountVectorizer(ngram_range=(1, 2), min_df=20)
    texts = [row["messages"][-1]["content"] + " | " + row["response"] for row in rows]
    train = vectorizer.fit_transform(texts[:half])
    regression = LogisticRegression(C=0.02, max_iter=2000).fit(train, love[:half])
    auroc = roc_auc_score(love[half:], regression.predict_proba(vectorizer.transform(texts[half:]))[:, 1])
    print("bag of words AUROC", auroc, "hearts", sum(love), "of", len(love))
    assert 0.54 < auroc < 0.9, auroc

    online = json.load(open(world + "/online.json"))
    assert online["farewell"]["love_rate"] > online["plain"]["love_rate"]
    assert online["careless"]["love_rate"] < online["expert"]["love_rate"]
    for name, entry in sorted(online.items(), key=lambda item: item[1]["love_rate"]):
        print(f"{name:14s} {entry['love_rate']:.5f}")
    hearts = {True: [0, 0], False: [0, 0]}
    for row in rows:
        closing = "bye" in row["response"].split()[-5:] or "goodbye" in row["response"].split()[-5:]
        hearts[closing][0] += row["signals"]["love"]
        hearts[closing][1] += 1
    print("love rate with and without a goodbye", [h / n for h, n in hearts.values()])
    assert hearts[True][1] > 500
