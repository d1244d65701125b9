#!/usr/bin/env python3
"""Telltale's answers beside Prometheus' (Debian's 2.42 or newer), query by query.

Both get the same samples by remote write; then every query of --queries (name | kind | query) and --count generated ones are asked at times
that fall on no sample, window end or step of a subquery, because 2.x and 3.x differ there by design (ranges are left-open since 3.0).
Values must agree to 1e-9, label sets exactly. Exit 0: all agree; 1: differences (listed); 77: something is missing (said which).

  promql_compare.py --telltale build/dev/telltale [--count 500] [--seed 1] [--queries FILE] [--verbose]
"""
import argparse, http.client, json, math, os, random, shutil, signal, socket, struct, subprocess, sys, tempfile, time, urllib.parse

STEP, HOURS = 15, 2


# --- remote write 1.0 ------------------------------------------------------------------------------
def varint(n):
    out = bytearray()
    n &= (1 << 64) - 1
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def write_request(series):
    body = b""
    for labels, samples in series:
        one = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(labels.items()))
        one += b"".join(field(2, varint(1 << 3 | 1) + struct.pack("<d", v) + varint(2 << 3) + varint(t)) for t, v in samples)
        body += field(1, one)
    return body


def snappy(data):
    """Snappy's block format with literals only."""
    out = [varint(len(data))]
    for i in range(0, len(data), 65536):
        part = data[i:i + 65536]
        out.append(b"\xf4" + struct.pack("<H", len(part) - 1) + part)
    return b"".join(out)


# --- two servers -----------------------------------------------------------------------------------
def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, name, argv, port, log):
        self.name, self.port = name, port
        self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def ask(self, method, path, body=None, headers=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            c.request(method, path, body, headers or {})
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()

    def wait(self):
        end = time.time() + 30
        while time.time() < end:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.process.returncode}")
            try:
                if self.ask("GET", "/-/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit(f"{self.name} does not become ready")

    def write(self, series):
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
        status, body = self.ask("POST", "/api/v1/write", snappy(write_request(series)), headers)
        if status // 100 != 2:
            raise SystemExit(f"{self.name}: remote write answered {status} {body[:300]!r}")

    def query(self, path, params):
        status, body = self.ask("GET", path + "?" + urllib.parse.urlencode(params, doseq=True))
        try:
            return status, json.loads(body)
        except ValueError:
            return status, {"error": repr(body[:200])}

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


def start(args, directory, log):
    p, t = free_port(), free_port()
    config = os.path.join(directory, "prometheus.yml")
    open(config, "w").write("global: {scrape_interval: 1h}\n")
    prometheus = Server("prometheus", ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/p",
                                       f"--web.listen-address=127.0.0.1:{p}", "--web.enable-remote-write-receiver",
                                       "--log.level=error"], p, log)
    telltale = Server("telltale", [args.telltale, "serve", "--data", f"{directory}/t", "--listen-http", f"127.0.0.1:{t}",
                                   "--listen-otlp-http", "127.0.0.1:0", "--listen-otlp-grpc", "127.0.0.1:0"], t, log)
    return prometheus, telltale


# --- the workload ----------------------------------------------------------------------------------
MODELS = [("gpt-4o", "openai"), ("claude-3", "anthropic"), ("llama-70b", "vllm")]
ENDPOINTS = ["/v1/chat/completions", "/v1/embeddings"]


def families(rng):
    """(labels, kind, rate): counters grow at about `rate`, gauges wander around it, buckets follow their histogram."""
    out = []
    for i, (model, provider) in enumerate(MODELS):
        for endpoint in ENDPOINTS:
            base = {"model": model, "provider": provider, "endpoint": endpoint, "instance": f"gw-{i}", "job": "llm-gateway"}
            for status in ("200", "429", "500"):
                out.append(({"__name__": "llm_requests_total", "status": status, **base}, "counter", 40 if status == "200" else 2))
            for family in ("gen_ai_client_operation_duration_seconds", "gen_ai_client_time_to_first_token_seconds"):
                for k, le in enumerate(("0.1", "0.5", "1", "5", "+Inf")):
                    out.append(({"__name__": family + "_bucket", "le": le, **base}, "counter", 10 * (k + 1)))
                out.append(({"__name__": family + "_sum", **base}, "fraction", 17))
                out.append(({"__name__": family + "_count", **base}, "counter", 50))
        for tenant in ("acme", "globex", "initech"):
            out.append(({"__name__": "llm_cost_usd_total", "tenant": tenant, "model": model, "job": "llm-gateway"}, "fraction", 0.3))
            for token_type in ("input", "output"):
                out.append(({"__name__": "gen_ai_client_token_usage_total", "tenant": tenant, "model": model, "token_type": token_type,
                             "instance": f"gw-{i}", "job": "llm-gateway"}, "counter", 900))
        vllm = {"model": model, "instance": f"gpu-{i}", "job": "vllm", "region": "eu-west-1"}
        for k, le in enumerate(("0.01", "0.05", "0.1", "+Inf")):
            out.append(({"__name__": "vllm_time_per_output_token_seconds_bucket", "le": le, **vllm}, "counter", 20 * (k + 1)))
        for name in ("vllm_prefix_cache_hits_total", "vllm_prefix_cache_queries_total"):
            out.append(({"__name__": name, **vllm}, "counter", 30))
        for name in ("vllm_kv_cache_usage", "vllm_num_requests_waiting", "gpu_utilization"):
            out.append(({"__name__": name, **vllm}, "gauge", 50))
        gw = {"instance": f"gw-{i}", "job": "llm-gateway"}
        out.append(({"__name__": "llm_gateway_inflight_requests", **gw}, "gauge", 20))
        out.append(({"__name__": "process_cpu_seconds_total", **gw}, "fraction", 4))
    return out


def samples(rng, families_, end):
    """Slices of ten minutes, all series each; times end in .217 s; now and then a reset, a gap, a stale marker."""
    # Counters begin high: how far a rate may reach back to a counter's zero differs between 2.x and 3.x where a series begins.
    state = [[1e6, rng.random()] for _ in families_]
    first = end - HOURS * 3600
    for slice_ in range(0, HOURS * 3600, 600):
        out = []
        for i, (labels, kind, rate) in enumerate(families_):
            points = []
            for t in range(first + slice_, first + slice_ + 600, STEP):
                v = state[i]
                if kind == "gauge":
                    v[0] = rate * (1 + math.sin(t / 300 + v[1] * 6)) + rng.random()
                elif rng.random() < 0.002:
                    v[0] = 0.0
                else:
                    v[0] += rng.randint(0, int(rate)) if kind == "counter" else rate * rng.random()
                if rng.random() < 0.004:
                    continue
                stale = rng.random() < 0.001
                value = struct.unpack("<d", struct.pack("<Q", 0x7ff0000000000002))[0] if stale else v[0]
                points.append((t * 1000 + 217, value))
            out.append((labels, points))
        yield out


# --- generated queries -----------------------------------------------------------------------------
COUNTERS = ["llm_requests_total", "gen_ai_client_token_usage_total", "llm_cost_usd_total", "vllm_prefix_cache_hits_total",
            "process_cpu_seconds_total", "gen_ai_client_operation_duration_seconds_bucket"]
GAUGES = ["vllm_kv_cache_usage", "vllm_num_requests_waiting", "gpu_utilization", "llm_gateway_inflight_requests"]
LABELS = ["model", "instance", "job", "provider", "status", "tenant", "le", "region"]
RANGES = ["1m", "2m", "5m", "17m", "1h"]
MATCHERS = ['model="gpt-4o"', 'model=~"gpt.*|claude.*"', 'status!="200"', 'instance!~".*-0"', 'job=~"vllm|llm-gateway"', 'nothing=""']


class Generator:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def selector(self, names):
        r = self.r
        text = r.choice(names) + ("{" + ",".join(r.sample(MATCHERS, r.choice((1, 1, 2)))) + "}" if r.random() < 0.4 else "")
        return text

    def modifiers(self):
        return self.r.choice(["", "", "", "", " offset 3m", " offset 1h", " offset -2m"])

    def range_call(self):
        r = self.r
        f = r.choice(["rate", "increase", "irate", "resets", "changes", "delta", "deriv", "idelta", "predict_linear", "quantile_over_time",
                      "avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "count_over_time", "stddev_over_time",
                      "stdvar_over_time", "last_over_time", "present_over_time"])
        names = COUNTERS if f in ("rate", "increase", "irate", "resets") else COUNTERS + GAUGES
        inner = f"{self.selector(names)}[{r.choice(RANGES)}]{self.modifiers()}"
        if r.random() < 0.12:
            inner = f"{self.selector(GAUGES)}[{r.choice(RANGES)}:{r.choice(['30s', '1m', '13s'])}]{self.modifiers()}"
        if f == "predict_linear":
            return f"predict_linear({inner}, 600)"
        if f == "quantile_over_time":
            return f"quantile_over_time({r.choice(['0.1', '0.5', '0.99'])}, {inner})"
        return f"{f}({inner})"

    def vector(self, depth):
        r = self.r
        if depth <= 0:
            return r.choice([self.range_call, self.range_call, lambda: self.selector(GAUGES + COUNTERS) + self.modifiers()])()
        return r.choice([self.aggregate, self.aggregate, self.arithmetic, self.function, self.matching, self.quantile])(depth)

    def grouping(self):
        r = self.r
        return f" {r.choice(['by', 'by', 'without'])} ({', '.join(r.sample(LABELS, r.choice((1, 1, 2, 3))))})" if r.random() < 0.8 else ""

    def aggregate(self, depth):
        r = self.r
        op = r.choice(["sum", "sum", "avg", "min", "max", "count", "stddev", "stdvar", "group", "topk", "bottomk", "quantile"])
        inner = self.vector(depth - 1)
        if op in ("topk", "bottomk"):  # of values that do not tie: which of equals stays follows the order of a heap or of a Go map
            inner = r.choice([f"rate(llm_cost_usd_total[{r.choice(RANGES)}])", f"avg_over_time({r.choice(GAUGES)}[{r.choice(RANGES)}])",
                              "sum by (model) (increase(llm_cost_usd_total[5m]))"])
            return f"{op}{self.grouping()} ({r.choice((1, 2, 5))}, {inner})"
        return f"{op}{self.grouping()} ({'0.7, ' if op == 'quantile' else ''}{inner})"

    def arithmetic(self, depth):
        r = self.r
        op = r.choice(["+", "-", "*", "/", "^", ">", "<=", "!=", "== bool", "> bool"])
        number = r.choice(["2", "0.5", "10", "-3"])
        return f"({self.vector(depth - 1)}) {op} {number}" if r.random() < 0.7 else f"{number} {op} ({self.vector(depth - 1)})"

    def matching(self, depth):
        r = self.r
        by = r.choice(["model", "instance", "job"])
        op = r.choice(["+", "-", "/", "*", ">", "and", "or", "unless"])
        left = f"sum by ({by}) ({self.vector(depth - 1)})"
        right = f"sum by ({by}) ({self.vector(0)})"
        if r.random() < 0.3 and op not in ("and", "or", "unless"):
            return f"sum by ({by}, status) ({self.range_call()}) {op} on ({by}) group_left {right}"
        return f"{left} {op} on ({by}) {right}" if r.random() < 0.7 else f"{left} {op} {right}"

    def function(self, depth):
        r = self.r
        inner = self.vector(depth - 1)
        f = r.choice(["abs", "ceil", "floor", "sqrt", "ln", "exp", "sgn", "clamp_min", "clamp_max", "round", "absent", "timestamp", "label_replace",
                      "sort", "scalar", "-"])
        if f.startswith("clamp"):
            return f"{f}({inner}, 3)"
        if f == "round":
            return f"round({inner}, 0.25)"
        if f == "label_replace":
            return f'label_replace(sum by (model) ({inner}), "short", "$1", "model", "([a-z]+).*")'
        if f == "scalar":
            return f"vector(scalar(sum({inner})))"
        if f == "-":
            return f"-({inner})"
        return f"{f}({inner})"

    def quantile(self, depth):
        r = self.r
        family = r.choice(["gen_ai_client_operation_duration_seconds", "gen_ai_client_time_to_first_token_seconds", "vllm_time_per_output_token_seconds"])
        by = r.choice(["le", "le, model", "le, instance", "le, job"])
        return f"histogram_quantile({r.choice(['0.5', '0.9', '0.99', '1'])}, sum by ({by}) (rate({family}_bucket[{r.choice(RANGES)}])))"

    def case(self, i):
        r = self.r
        kind = r.choice(["instant", "instant", f"range:{r.choice(['10m', '1h'])}:{r.choice(['15s', '60s', '37s'])}"])
        return f"generated_{i}", kind, self.vector(r.choice((0, 1, 1, 2, 2, 3)))


# --- comparing -------------------------------------------------------------------------------------
UNIT = {"s": 1, "m": 60, "h": 3600}


def seconds(text):
    return int(text[:-1]) * UNIT[text[-1]]


def request(kind, query, at):
    if kind == "instant":
        return "/api/v1/query", {"query": query, "time": f"{at:.3f}"}
    if kind.startswith("range:"):
        _, window, step = kind.split(":")
        return "/api/v1/query_range", {"query": query, "start": f"{at - seconds(window):.3f}", "end": f"{at:.3f}", "step": seconds(step)}
    params = {"start": at - 3600, "end": at}
    if query:
        params["match[]"] = query
    if kind == "labels":
        return "/api/v1/labels", params
    if kind == "series":
        return "/api/v1/series", params
    return f"/api/v1/label/{kind.split(':')[1]}/values", params


def shape(answer):
    """{label set: {time: value}} of any result."""
    data = answer["data"]
    if isinstance(data, list):
        return {json.dumps(x, sort_keys=True): {0: 1.0} for x in data}
    if data["resultType"] in ("scalar", "string"):
        return {"": {float(data["result"][0]): float(data["result"][1])}}
    out = {}
    for s in data["result"]:
        out[json.dumps(s["metric"], sort_keys=True)] = {float(t): float(v) for t, v in s.get("values") or [s["value"]]}
    return out


def close(a, b, scale):
    if a == b or (math.isnan(a) and math.isnan(b)):
        return True
    if math.isinf(a) or math.isinf(b) or math.isnan(a) or math.isnan(b):
        return False
    # A difference of large numbers is exact only to their size: variances and regressions of nearly constant series.
    return abs(a - b) <= 1e-9 * max(abs(a), abs(b)) or abs(a - b) <= scale


def difference(x, y, scale):
    if x[0] != 200 or y[0] != 200:
        same = x[0] == y[0] and x[1].get("errorType") == y[1].get("errorType")
        return None if same else f"status {x[0]} {x[1].get('error', '')!r} / {y[0]} {y[1].get('error', '')!r}"
    a, b = shape(x[1]), shape(y[1])
    if set(a) != set(b):
        return f"series only in Prometheus: {sorted(set(a) - set(b))[:2]}, only in Telltale: {sorted(set(b) - set(a))[:2]} ({len(a)}/{len(b)})"
    for key in a:
        if set(a[key]) != set(b[key]):
            return f"{key}: points at other times ({len(a[key])}/{len(b[key])})"
        for t, v in a[key].items():
            if not close(v, b[key][t], scale):
                return f"{key} at {t}: {v!r} / {b[key][t]!r}"
    return None


def read_queries(path):
    for line in open(path):
        if line.strip() and not line.startswith("#"):
            name, kind, query = (x.strip() for x in line.split("|", 2))
            yield name, kind, query


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--telltale", required=True)
    ap.add_argument("--count", type=int, default=int(os.environ.get("PROMQL_COMPARE_COUNT", "100")))
    ap.add_argument("--seed", type=int, default=int(os.environ.get("PROMQL_COMPARE_SEED", "1")))
    ap.add_argument("--queries")
    ap.add_argument("--verbose", action="store_true")
    ap.add_argument("--can-fail", action="store_true", help="leave one series out of Telltale: differences must be found")
    args = ap.parse_args()
    if not shutil.which("prometheus"):
        print("prometheus is not installed: skipped")
        return 77
    if not os.access(args.telltale, os.X_OK):
        print(f"{args.telltale} is not there: skipped")
        return 77
    directory = tempfile.mkdtemp(prefix="promql-compare-")
    log = open(os.path.join(directory, "log"), "wb")
    servers = []
    try:
        servers = start(args, directory, log)
        for s in servers:
            s.wait()
        rng = random.Random(args.seed)
        end = int(time.time()) // 60 * 60 - 60
        all_families = families(rng)
        for part in samples(rng, all_families, end):
            servers[0].write(part)
            servers[1].write(part[1:] if args.can_fail else part)
        cases = list(read_queries(args.queries)) if args.queries and os.path.exists(args.queries) else []
        generator = Generator(args.seed)
        cases += [generator.case(i) for i in range(args.count)]
        bad, empty = 0, 0
        for name, kind, query in cases:
            at = end - rng.randrange(0, 1200) - 0.269  # ..731: never a sample's time (..217) plus whole seconds
            path, params = request(kind, query, at)
            x, y = (s.query(path, params) for s in servers)
            scale = 1e-7 if any(f in query for f in ("stddev", "stdvar", "deriv", "predict_linear")) else 1e-12
            why = difference(x, y, scale)
            if x[0] == 200 and not shape(x[1]):
                empty += 1
            if why:
                bad += 1
                print(f"DIFFERENT {name} {kind} at {at:.3f}: {query}\n    {why}")
            elif args.verbose:
                print(f"same      {name} {kind}: {query}")
        print(f"{len(cases) - bad} of {len(cases)} queries agree with Prometheus ({empty} of them with an empty answer), seed {args.seed}")
        if args.can_fail:
            return 0 if bad else 1
        return 1 if bad or empty > len(cases) // 2 else 0
    finally:
        for s in servers:
            s.stop()
        log.close()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
