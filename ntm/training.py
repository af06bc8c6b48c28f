"""Training and measuring: the loop, the losses, the optimisers, and the costs of section 4 of the paper.

Saved runs are in :mod:`ntm.runs`. Letters: T time steps, B sequences, Y output channels.
"""

import functools
import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ntm import checks, engine, tasks
from ntm.model import NTM
from ntm.tasks import Batch, Task

with warnings.catch_warnings():  # that a notebook has no ipywidgets, where the bar is text
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

SOLVED_FOR = 10_000  # on end, that must cost less than a bound before a run counts as solved


# Losses and costs: logits (T,B,Y), targets (T,B,Y), mask (T,B). Other shapes are a ValueError, nothing is broadcast;
# targets and mask may be bools or whole numbers as well. NaN in logits or targets gives NaN, also where nothing counts.
# A mean over every bit that counts is NaN where there is none, like any mean; a sum is 0 there. ``train`` and
# ``evaluate`` refuse batches that count nothing.


def cross_entropy(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy in nats per bit that counts, computed from the logits.

    (T,B,Y), (T,B,Y), (T,B) -> a number. Raises ValueError for other shapes.
    """
    targets, mask = _beside(logits, targets, mask)
    return _masked_mean(functional.binary_cross_entropy_with_logits(logits, targets, reduction="none"), mask)


def huber(logits: Tensor, targets: Tensor, mask: Tensor, delta: float = 1.0) -> Tensor:
    """Huber loss between the output sigmoid(logits) and the target, per bit that counts.

    (T,B,Y), (T,B,Y), (T,B) -> a number: half the squared difference where that is below ``delta``, beyond it a
    straight line. Raises ValueError for other shapes.
    """
    targets, mask = _beside(logits, targets, mask)
    return _masked_mean(functional.huber_loss(logits.sigmoid(), targets, reduction="none", delta=delta), mask)


def nats_per_sequence(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy in nats, summed over a sequence, mean over the batch: the paper's cost, to be minimised.

    (T,B,Y), (T,B,Y), (T,B) -> a number. Raises ValueError for other shapes. Its gradients are as many times those
    of ``cross_entropy`` as bits count in a sequence.
    """
    return _nats(logits, *_beside(logits, targets, mask)) / mask.shape[1]


def _nats(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy, summed over all that counts."""
    return (functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(2) * mask).sum()


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values.mean(2) * mask).sum() / mask.sum()


def _beside(logits: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Targets and mask as numbers, once all shapes are known to belong together."""
    if targets.shape != logits.shape or mask.shape != logits.shape[:2]:
        shapes = (tuple(values.shape) for values in (logits, targets, mask))
        raise ValueError("logits {}, targets {}, mask {}: must be (T,B,Y), (T,B,Y) and (T,B)".format(*shapes))
    return _numbers(targets, logits), _numbers(mask, logits)


def _numbers(values: Tensor, like: Tensor) -> Tensor:
    """Bools and whole numbers in the type of ``like``; numbers with a fraction as they are."""
    return values if values.is_floating_point() else values.to(like.dtype)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "huber": huber, "nats_per_sequence": nats_per_sequence}


# Costs


def bits_per_sequence(logits: Tensor, targets: Tensor, mask: Tensor) -> float:
    """The paper's cost (section 4): cross-entropy in base 2, summed over a sequence, mean over the batch.

    (T,B,Y), (T,B,Y), (T,B) -> a number; guessing costs a bit for each that counts. Raises ValueError for other shapes.
    """
    return float(_nats(logits, *_beside(logits, targets, mask))) / math.log(2) / mask.shape[1]


def wrong_bits(logits: Tensor, targets: Tensor, mask: Tensor) -> float:
    """Outputs on the wrong side of one half, summed over a sequence, mean over the batch.

    (T,B,Y), (T,B,Y), (T,B) -> a number, NaN if a logit or a target is. Raises ValueError for other shapes.
    """
    targets, mask = _beside(logits, targets, mask)
    if logits.isnan().any() or targets.isnan().any():
        return math.nan
    wrong = ((logits > 0) != (targets > 0.5)).sum(2) * mask
    return float(wrong.sum()) / mask.shape[1]


# Optimisers


class GravesRMSProp(torch.optim.Optimizer):
    """RMSProp as in Graves (2013), arXiv:1308.0850, equations 38 to 45, which the paper cites.

    n = 0.95 n + 0.05 g^2;  m = 0.95 m + 0.05 g;  d = 0.9 d - rate g / sqrt(n - m^2 + 1e-4);  w = w + d.
    The epsilon is inside the root, unlike that of ``torch.optim.RMSprop(centered=True)``. n - m^2 is a variance: where
    rounding makes it negative (gradients that are large and stay the same), it is 0.
    """

    DECAY, MOMENTUM, EPSILON = 0.95, 0.9, 1e-4

    def __init__(self, params: Any, lr: float | Tensor = 1e-4) -> None:
        super().__init__(params, {"lr": lr})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with a learning rate of their own or the optimiser's; raises ValueError for one below 0."""
        rate = float(param_group.get("lr", self.defaults["lr"]))
        if not 0 <= rate < math.inf:
            raise ValueError(f"lr={rate}: must be at least 0 and finite")
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; return the loss that ``closure`` computed anew, if it is given.

        Raises RuntimeError, before any parameter moves, for one that is neither float32 nor float64 or whose gradient
        is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        learning = [
            (w, float(group["lr"])) for group in self.param_groups for w in group["params"] if w.grad is not None
        ]
        for weight, _ in learning:
            if weight.dtype not in (torch.float32, torch.float64) or weight.grad.layout != torch.strided:
                kind = weight.dtype if weight.grad.layout == torch.strided else weight.grad.layout
                raise RuntimeError(f"GravesRMSProp has no step for {kind}: it needs dense float32 or float64")
        for weight, rate in learning:
            state = self.state[weight]
            if not state:
                state.update({name: torch.zeros_like(weight) for name in ("square", "mean", "delta")})
            state["square"].lerp_(weight.grad.square(), 1 - self.DECAY)
            state["mean"].lerp_(weight.grad, 1 - self.DECAY)
            variance = (state["square"] - state["mean"].square()).clamp_min_(0)
            state["delta"].mul_(self.MOMENTUM).addcdiv_(weight.grad, (variance + self.EPSILON).sqrt(), value=-rate)
            weight.add_(state["delta"])
        return loss


# Training


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; the defaults are the book's recipe for copying.

    ``paper.recipe`` has what the paper states for each task and network, as far as it does.
    Raises ValueError for values that no training can have.
    """

    seed: int = 0  # of the weights and of the data
    updates: int = 10_000
    batch: int = 8  # 4 is much the same: see the ablations in the book's chapter on speed
    optimizer: Literal["adam", "rmsprop"] = "adam"  # torch's Adam, or GravesRMSProp
    learning_rate: float = 3e-3  # at the first update
    halve_every: int = 1500  # updates in which the learning rate halves, 0 for never; a constant one has relapses
    clip: Literal["norm", "value"] = "norm"  # of the whole gradient, or of each of its elements
    clip_at: float = 0.3  # of the loss's gradient; the book's chapter on speed has what becomes of machines with 10
    # Locations of an NTM's memory while it trains, least and most, drawn for each batch; None: its own number. Copy's
    # longest sequences have 42 steps: heads that move on at every step come round to where they began, as they will
    # on longer sequences in a larger memory, and cannot count on when.
    train_locations: tuple[int, int] | None = (22, 26)
    # Batches of which one has the machine's own number of locations all the same, 0 for never: a head that looks for a
    # content among 26 locations manages with a key strength that drowns among 128, where each empty location has a
    # share of the softmax.
    own_every: int = 10
    report_every: int = 100  # updates between two rows of the log, and between two checkpoints
    keep_every: int = 0  # updates between two sets of weights that a saved run keeps; 0 keeps the last only
    # Bits per sequence that count as solved, 0 for none: training ends early once SOLVED_FOR on end have cost
    # less, each row of the log.
    until: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that no training can have, before anything is built."""
        for name in ("updates", "batch", "report_every"):
            object.__setattr__(self, name, checks.whole(name, getattr(self, name)))
        for name in ("keep_every", "halve_every", "own_every"):
            object.__setattr__(self, name, checks.whole(name, getattr(self, name), least=0))
        object.__setattr__(self, "seed", checks.whole("seed", self.seed, 0, checks.LARGEST_SEED))
        for name in ("learning_rate", "clip_at"):
            object.__setattr__(self, name, checks.positive(name, getattr(self, name)))
        if self.until != 0:
            object.__setattr__(self, "until", checks.positive("until", self.until))
        checks.one_of("optimizer", self.optimizer, ("adam", "rmsprop"))
        checks.one_of("clip", self.clip, ("norm", "value"))
        if self.train_locations is not None:
            object.__setattr__(self, "train_locations", tasks.check_range("train_locations", self.train_locations))

    @property
    def loss(self) -> str:
        """The name in LOSSES of the loss that the recipe is made for.

        Graves' RMSProp divides by the root of the gradient's variance plus 1e-4, and the paper clips elements of the
        gradient at 10. Both numbers have a unit, and we take it to be that of the paper's cost: a sum over a sequence.
        With the mean per bit, gradients are smaller by the number of bits in a sequence; the clip is then far away,
        and where the variance vanishes beside 1e-4, what remains is plain gradient descent with momentum. Adam divides
        by the size of the gradient alone, so that the unit makes no difference to it.
        """
        return "nats_per_sequence" if self.optimizer == "rmsprop" else "cross_entropy"

    def learning_rate_at(self, update: int) -> float:
        """The learning rate of an update; it does not depend on how many are to be made."""
        return self.learning_rate * 0.5 ** (update / self.halve_every) if self.halve_every else self.learning_rate

    def locations_at(self, update: int, generator: torch.Generator) -> int | None:
        """The locations of a batch's memory; None for the machine's own number."""
        if self.train_locations is None or (self.own_every and update % self.own_every == 0):
            return None
        least, most = self.train_locations
        return int(torch.randint(least, most + 1, (), generator=generator))

    def ended(self, log: "list[Row]") -> bool:
        """Whether training is over after the rows of a log: the last update was made, or it is solved (``until``)."""
        if not log:
            return False
        below = next((row.sequences for row in reversed(log) if row.bits_per_sequence >= self.until), 0)
        return log[-1].update >= self.updates or log[-1].sequences - below >= SOLVED_FOR

    def check_room(self, batch: Batch) -> None:
        """Raise ValueError if ``train_locations`` may be fewer than the steps at which a batch shows something."""
        shown = int(batch.inputs.flatten(1).any(1).sum())
        if self.train_locations is not None and self.train_locations[0] < shown:
            raise ValueError(
                f"train_locations={self.train_locations}: too few for sequences that show something at {shown} steps "
                "(a recipe belongs to its task); name more, or None for the machine's own number"
            )


PAPER = TrainingConfig(
    batch=1, optimizer="rmsprop", learning_rate=1e-4, halve_every=0, clip="value", clip_at=10.0, train_locations=None
)


class Row(NamedTuple):
    """One row of a log: means over the updates since the row before."""

    update: int
    sequences: int  # trained on so far
    loss: float  # in the loss's own unit: for the cross-entropy nats per bit that counts
    bits_per_sequence: float  # mean over the batches
    wrong_bits: float  # per sequence, mean over the batches
    seconds: float  # of training so far


class NonFiniteError(ArithmeticError):
    """Training met NaN or infinity; ``batch`` and the model's weights, not yet updated, reproduce it."""

    def __init__(self, update: int, began: str, batch: Batch) -> None:
        super().__init__(f"update {update} is not finite; it began in {began}")
        self.update, self.began, self.batch = update, began, batch


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser that a configuration asks for, over all parameters of the model."""
    kind = torch.optim.Adam if config.optimizer == "adam" else GravesRMSProp
    return kind(model.parameters(), lr=config.learning_rate)


def train(
    model: nn.Module,
    task: Task,
    config: TrainingConfig,
    loss: Loss = cross_entropy,
    run: Any = None,
    report: Callable[[list[Row]], bool | None] | None = None,
    progress: bool = True,
) -> list[Row]:
    """Train the model in place and return the log.

    ``task(batch, generator=...)`` draws a batch, of which inputs, targets and mask may be bools or whole numbers, and
    which may be smaller than it was asked to be. ``report`` is called with the log at each new row; when it returns
    True, or the task is solved (``config.until``), training ends there. With a ``run`` (:class:`ntm.runs.Run`),
    training goes on from its last checkpoint, bitwise as if it had never stopped, and leaves checkpoints behind.

    Raises NonFiniteError at the first loss or gradient that is NaN or infinite, before it reaches the weights; and
    ValueError for a batch that is so itself, that counts nothing, or that ``config.train_locations`` cannot hold.
    """
    weight = next(model.parameters())
    optimizer = make_optimizer(model, config)
    generator = torch.Generator().manual_seed(config.seed)
    log, sums = run.resume(model, optimizer, generator) if run else ([], [0.0, 0.0, 0.0])
    done, sequences, before = (log[-1].update, log[-1].sequences, log[-1].seconds) if log else (0, 0, 0.0)
    if done % config.report_every and done < config.updates:
        log.pop()  # the last row of a run that is now made longer, where the longer one has none
    else:
        sums = [0.0, 0.0, 0.0]
    trained, longest, started = sequences, 0, time.perf_counter()
    step = make_step(model, optimizer, loss, config)
    left = range(done + 1, config.updates + 1) if not config.ended(log) else ()

    with tqdm(total=config.updates, initial=done, unit="update", disable=not progress, mininterval=0.5) as bar:
        for update in left:
            batch = Batch(*(values.to(weight.device) for values in task(config.batch, generator=generator)))
            locations = config.locations_at(update, generator) if isinstance(model, NTM) else None
            if locations and len(batch.inputs) > longest:
                longest = len(batch.inputs)
                config.check_room(batch)
            costs = step(batch, config.learning_rate_at(update), locations)
            if costs is None:
                error = NonFiniteError(update, where_it_began(model, batch, loss, locations), batch)
                if run:
                    run.keep_failure(model, error)
                raise error
            sequences += batch.inputs.shape[1]
            sums = [total + cost for total, cost in zip(sums, costs, strict=True)]
            bar.update()
            if update % config.report_every == 0 or update == config.updates:
                count = update - (log[-1].update if log else 0)
                seconds = time.perf_counter() - started
                log.append(Row._make([update, sequences, *(total / count for total in sums), before + seconds]))
                rate = (sequences - trained) / seconds
                bar.set_postfix_str(f"{log[-1].bits_per_sequence:.3f} bits per sequence, {rate:.0f} sequences/s")
                if run:
                    run.checkpoint(model, optimizer, generator, log, sums)
                sums = [0.0, 0.0, 0.0]
                if (report and report(log)) or (config.ended(log) and update < config.updates):
                    if progress:  # the bar is full now, and green
                        began = bar.start_t
                        bar.reset(total=update)
                        bar.start_t, bar.n = began, update
                        bar.set_description_str("ended early")
                    break
    return log


def make_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Loss, config: TrainingConfig
) -> Callable[[Batch, float, int | None], tuple[float, ...] | None]:
    """One update: batch, rate, locations -> loss, bits, wrong bits before it; None, and no update, if not finite.

    Compiled as a whole where the engine is the same machine, the optimiser is one of the two above and the loss too;
    else the model's own forward, torch's backward and the optimiser's own step. Raises ValueError for a batch whose
    targets or mask do not fit the model's outputs, whose mask counts no step, or that holds NaN or infinity.
    """
    compiled: Any = None
    own = next(model.parameters())

    def step(batch: Batch, rate: float, locations: int | None) -> tuple[float, ...] | None:
        nonlocal compiled
        batch = checked_batch(batch, model, own)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if compiled is None or not compiled.still(*batch):
            if not _compiles(model, optimizer, loss, batch):
                costs = _literal_step(model, optimizer, loss, config, batch, locations)
                if costs is None:
                    check_finite(batch)
                return costs
            if compiled is None or not compiled.fits():
                kind = loss is huber, loss is nats_per_sequence
                compiled = engine.Step(model, optimizer, *kind, config.clip == "norm", config.clip_at)
            compiled.look()
        loss_of, bits, wrong, norm = compiled(*batch, rate, locations)
        if math.isfinite(norm) and math.isfinite(loss_of):
            return loss_of, bits, wrong
        check_finite(batch)
        return None

    return step


def _literal_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    config: TrainingConfig,
    batch: Batch,
    locations: int | None,
) -> tuple[float, ...] | None:
    """An update by torch's own means."""
    state = model.initial_state(batch.inputs.shape[1], locations) if isinstance(model, NTM) and locations else None
    logits, _ = model(batch.inputs, state)
    value = loss(logits, batch.targets, batch.mask)
    optimizer.zero_grad()
    value.backward()
    if not clip_gradients(model, config) or not finite(value):
        return None
    optimizer.step()
    with torch.no_grad():
        return float(value), *(cost(logits, *batch[1:]) for cost in (bits_per_sequence, wrong_bits))


def checked_batch(batch: Batch, model: nn.Module, own: Tensor) -> Batch:
    """A batch in the type of ``own``, a parameter of the model; ValueError where parts do not fit or none counts."""
    inputs, targets, mask = batch
    if inputs.dim() != 3 or mask.shape != inputs.shape[:2] or targets.shape[:2] != inputs.shape[:2]:
        shapes = ", ".join(f"{name} {tuple(part.shape)}" for name, part in zip(Batch._fields, batch, strict=True))
        raise ValueError(f"a batch of {shapes}: expected (T,B,X), (T,B,Y), (T,B) with the same T and B")
    config = getattr(model, "config", None)
    for name, part, channels in (("inputs", inputs, "inputs"), ("targets", targets, "outputs")):
        expected = (*inputs.shape[:2], getattr(config, channels, part.shape[-1]))
        if part.shape != expected:
            raise ValueError(f"{name} of shape {tuple(part.shape)}: the model's are {expected}")
    if not (mask.detach().numpy() if mask.is_cpu else mask).any():  # NumPy is quicker at small ones
        raise ValueError("the mask is 0 at every step: there is nothing to learn from")
    if inputs.dtype == targets.dtype == mask.dtype == own.dtype:
        return batch
    if torch.promote_types(inputs.dtype, own.dtype) == own.dtype:  # else the model itself refuses them
        inputs = inputs.to(own.dtype)
    return Batch(inputs, targets.to(own.dtype), mask.to(own.dtype))


def check_finite(batch: Batch) -> None:
    """Raise ValueError for a batch that holds NaN or infinity, with the first time step that does."""
    for name, part in batch._asdict().items():
        good = part.isfinite().flatten(1).all(1)
        if not good.all():
            raise ValueError(f"{name} hold NaN or infinity, first at time step {int((~good).nonzero()[0])}")


def finite(values: Tensor) -> bool:
    """Whether no number is NaN or infinite. Comparing with NaN would not do: NaN equals nothing, itself included."""
    return bool(values.isfinite().all())


def total_norm(gradients: Iterable[Tensor]) -> Tensor:
    """The norm of all gradients together; finite where they are, also where the squares of some would be infinite."""
    gradients = list(gradients)
    norm = nn.utils.get_total_norm(gradients)
    if not finite(norm):
        norm = nn.utils.get_total_norm([grad.cpu().double() for grad in gradients]).to(norm)
    return norm


def clip_gradients(model: nn.Module, config: TrainingConfig) -> bool:
    """Clip the gradients as configured; False, and untouched, if any of them is NaN or infinite."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = total_norm(gradients)
    if not finite(norm):
        return False
    if config.clip == "norm":
        nn.utils.clip_grads_with_norm_(model.parameters(), config.clip_at, norm)
    else:
        nn.utils.clip_grad_value_(model.parameters(), config.clip_at)
    return True


_COMPILED = (cross_entropy, huber, nats_per_sequence)
_OURS = (*_COMPILED, _masked_mean, _nats, bits_per_sequence, wrong_bits, finite, total_norm, clip_gradients)


def _compiles(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Loss, batch: Batch) -> bool:
    """Whether a compiled step does what torch's would; where only the step differs, say why, once."""
    if not isinstance(model, NTM) or engine.why_literal(model, *batch) is not None:
        return False  # the model itself says why
    reason = engine.why_not_whole(model, optimizer, (torch.optim.Adam, GravesRMSProp), *batch)
    if loss not in _COMPILED:
        reason = engine.Reason("the loss is the user's own", silent=True)
    if any(globals()[function.__name__] is not function for function in _OURS):
        reason = engine.Reason("a function of ntm.training was replaced", silent=True)
    if reason is not None:
        engine.tell(reason, "training steps are not compiled as a whole, and take longer")
    return reason is None


def where_it_began(model: nn.Module, batch: Batch, loss: Loss = cross_entropy, locations: int | None = None) -> str:
    """The first named quantity that is NaN or infinite: a parameter, an intermediate, the loss, or the gradients.

    All is computed once more, by the literal model and without an update. What is computed side by side, as gradients
    are, is named together; and if nothing is found, that is said.
    """
    for name, weight in model.named_parameters():
        if not finite(weight):
            return f"the parameter {name}"
    with torch.enable_grad():
        if isinstance(model, NTM):
            state = model.initial_state(batch.inputs.shape[1], locations) if locations else None
            steps = model.trace(batch.inputs, state)._asdict()
        else:
            steps = {"logits": model(batch.inputs)[0]}
        for t in range(len(batch.inputs)):
            for name, values in steps.items():
                if not finite(values[t]):
                    return f"{name} at time step {t}"
        value = loss(steps["logits"], batch.targets, batch.mask)
        if not finite(value):
            return "the loss, of logits that are finite"
        learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
        found = torch.autograd.grad(value, list(learned.values()), allow_unused=True)
    gradients = {name: grad for name, grad in zip(learned, found, strict=True) if grad is not None}
    bad = [name for name, grad in gradients.items() if not finite(grad)]
    if bad:
        return f"the gradients of {'all parameters' if len(bad) == len(gradients) else ', '.join(bad)}"
    if not finite(total_norm(gradients.values())):
        return "the norm of the gradients, which are finite"
    return "a number that was finite when all was computed once more"


# Measuring


class Score(NamedTuple):
    """Costs over sequences that the machine was not trained on, mean per sequence."""

    sequences: int
    bits_per_sequence: float  # mean over the lengths
    wrong_bits: float  # per sequence, mean over the lengths
    worst: float  # wrong bits of the worst batch, mean per sequence: 0 only if no bit is wrong anywhere


def evaluate(
    model: nn.Module,
    task: Task,
    lengths: int | Iterable[int],
    sequences: int = 50,
    seed: int = 1,
    locations: int | None = None,
) -> Score:
    """:func:`measure` with ``sequences`` of each of the ``lengths`` (or of one) of a task that has them."""
    lengths = [checks.whole("length", n) for n in (lengths if isinstance(lengths, Iterable) else [lengths])]
    return measure(model, [functools.partial(task, length=n) for n in lengths], sequences, seed, locations)


@torch.no_grad()
def measure(
    model: nn.Module,
    draws: Sequence[Task],
    sequences: int = 50,
    seed: int = 1,
    locations: int | None = None,
) -> Score:
    """The mean cost over fresh sequences: ``sequences`` from each of the ``draws``, with ``seed``.

    ``locations`` enlarges or shrinks the memory for the measurement; without it the machine's own size is used.

    Raises ValueError for numbers that cannot be, and for a batch that counts nothing or holds NaN or infinity.
    """
    if not draws:
        raise ValueError("there is nothing to measure: name at least one length, or size")
    sequences = checks.whole("sequences", sequences)
    generator = torch.Generator().manual_seed(checks.whole("seed", seed, 0, checks.LARGEST_SEED))
    if locations is not None:
        locations = checks.whole("locations", locations)
        if not isinstance(model, NTM):
            raise ValueError(f"locations={locations}: this network has no memory to enlarge; leave locations out")
    weight = next(model.parameters())
    bits, wrong, measured = [], [], 0
    for draw in draws:
        drawn = draw(sequences, generator=generator)
        batch = Batch(*(_numbers(values.to(weight.device), weight) for values in drawn))
        check_finite(batch)
        if not batch.mask.any():
            raise ValueError("the mask is 0 at every step: there is nothing to measure")
        many = batch.inputs.shape[1]
        state = model.initial_state(many, locations) if isinstance(model, NTM) and locations else None
        logits, _ = model(batch.inputs, state)
        bits.append(bits_per_sequence(logits, batch.targets, batch.mask))
        wrong.append(wrong_bits(logits, batch.targets, batch.mask))
        measured += many
    return Score(measured, sum(bits) / len(bits), sum(wrong) / len(wrong), max(wrong))
