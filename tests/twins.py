"""Literal twins: the paper's equations in plain numpy loops, to which the package is held. One sequence, no batch."""

import numpy as np

SCALES = [1e-3, 1.0, 1e3]  # of what is compared
EPSILON = 1e-6  # as in the package, added to the product of two norms


def assert_near(ours, theirs, part=1e-12, about=""):
    """Two ways to compute one thing in float64 differ by rounding, which is a part of the largest number in it."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, about
    assert np.abs(ours - theirs).max() <= part * np.abs(theirs).max(), about


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def read(memory, w):  # equation 2
    return sum(w[i] * memory[i] for i in range(len(memory)))


def write(memory, weightings, erases, adds):  # equations 3 and 4
    memory = memory.copy()
    for w, e in zip(weightings, erases, strict=True):
        for i in range(len(memory)):
            memory[i] = memory[i] * (1 - w[i] * e)
    for w, a in zip(weightings, adds, strict=True):
        for i in range(len(memory)):
            memory[i] = memory[i] + w[i] * a
    return memory


def content(memory, key, beta):  # equations 5 and 6
    cosine = [key @ row / (np.sqrt(key @ key) * np.sqrt(row @ row) + EPSILON) for row in memory]
    return softmax(beta * np.array(cosine))


def interpolate(content, previous, gate):  # equation 7
    return gate * content + (1 - gate) * previous


def shift(w, s):  # equation 8
    n, reach = len(w), len(s) // 2
    moved = np.zeros(n)
    for i in range(n):
        for offset in range(-reach, reach + 1):
            moved[i] += w[(i - offset) % n] * s[offset + reach]
    return moved


def sharpen(w, gamma):  # equation 9
    return w**gamma / (w**gamma).sum()


def lstm_cell(x, h, c, w_ih, w_hh, b):
    i, f, g, o = np.split(w_ih @ x + w_hh @ h + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def ntm(model, inputs):
    """Every field of a Trace for one sequence (T,X), from the parameters of ``model``."""
    p = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    z = model.config
    heads, m, s = z.read_heads + z.write_heads, z.width, z.shifts
    memory = np.full((z.locations, m), 1e-6)
    w = [np.eye(z.locations)[0] for _ in range(heads)]
    reads = p["initial_reads"][0]
    if z.controller == "lstm":
        h, c = list(p["controller.initial_hidden"][:, 0]), list(p["controller.initial_cell"][:, 0])
    steps = []
    for x in inputs:
        out = np.concatenate([x, reads.reshape(-1)])
        for layer in range(z.layers):
            if z.controller == "lstm":
                cell = f"controller.cells.{layer}."
                bias = p[cell + "bias_ih"] + p[cell + "bias_hh"]
                h[layer], c[layer] = lstm_cell(
                    out, h[layer], c[layer], p[cell + "weight_ih"], p[cell + "weight_hh"], bias
                )
                out = h[layer]
            else:
                name = f"controller.layers.{layer}."
                out = np.tanh(p[name + "weight"] @ out + p[name + "bias"])
        orders = p["heads.projection.weight"] @ out + p["heads.projection.bias"]
        step = {name: [] for name in ("key", "beta", "gate", "shift", "gamma", "erase", "add")}
        step |= {name: [] for name in ("content", "gated", "shifted", "weighting", "reads")}
        size = m + s + 3
        for head in range(heads):
            o = orders[head * size : (head + 1) * size]
            key, beta, gate = np.tanh(o[:m]), softplus(o[m : m + 1]), sigmoid(o[m + 1 : m + 2])
            move, gamma = softmax(o[m + 2 : m + 2 + s]), 1 + softplus(o[m + 2 + s :])
            by_content = content(memory, key, beta[0])
            gated = interpolate(by_content, w[head], gate[0])
            shifted = shift(gated, move)
            w[head] = sharpen(shifted, gamma[0])
            values = (key, beta, gate, move, gamma, by_content, gated, shifted, w[head])
            names = ("key", "beta", "gate", "shift", "gamma", "content", "gated", "shifted", "weighting")
            for name, value in zip(names, values, strict=True):
                step[name].append(value)
        rest = orders[heads * size :].reshape(z.write_heads, 2, m)
        step["erase"], step["add"] = sigmoid(rest[:, 0]), np.tanh(rest[:, 1])
        memory = write(memory, w[z.read_heads :], step["erase"], step["add"])
        reads = np.stack([read(memory, w[head]) for head in range(z.read_heads)])
        seen = np.concatenate([out, reads.reshape(-1)])
        step |= {"controller": out, "memory": memory, "reads": reads}
        step["logits"] = p["output.weight"] @ seen + p["output.bias"]
        steps.append({name: np.array(value) for name, value in step.items()})
    return {name: np.stack([step[name] for step in steps]) for name in steps[0]}


def stacked_lstm(model, inputs):
    """Logits (T,Y) of the baseline for one sequence (T,X)."""
    p = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    layers = model.config.layers
    h, c = list(p["initial_hidden"][:, 0]), list(p["initial_cell"][:, 0])
    logits = []
    for x in inputs:
        for i in range(layers):
            seen = np.concatenate([x, [1.0]] + ([h[i - 1]] if i else []))
            weights = p[f"layers.{i}.weight_ih_l0"], p[f"layers.{i}.weight_hh_l0"]
            h[i], c[i] = lstm_cell(seen, h[i], c[i], *weights, 0)
        logits.append(p["output.weight"] @ np.concatenate(h) + p["output.bias"])
    return np.stack(logits)
