"""A training run to look at: a small network learns handwritten digits and logs each step.

The data is scikit-learn's `load_digits` (1,797 images of 8 by 8 pixels), which is part of that package: nothing is
downloaded. The network has one hidden layer and is trained with stochastic gradient descent and momentum, in NumPy.
This module needs the extra ``demo``; `codex_obs` never imports it by itself.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.datasets import load_digits

import codex_obs
from codex_obs.commands._output import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from codex_obs.flags import Tracking

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

RUN_NAME = "digits-demo"
CHECKPOINT_NAME = "checkpoint.npz"

# Small enough that one call of the demo rotates the log a few times.
MAX_SHARD_BYTES = 256 << 10

# What is shown afterwards should be there; a new database of MLflow takes seconds.
_DELIVERY_S = 30.0
_CLASSES = 10
_PIXELS = 64
_LARGEST_PIXEL = 16.0
_TRAIN_IMAGES = 1437
_LAYERS = ("hidden_weights", "hidden_bias", "output_weights", "output_bias")


class DemoError(Exception):
    """The demo cannot use a directory; the text is one sentence for the user."""


@dataclass(frozen=True)
class Hyperparameters:
    """What is chosen before training; the run's config.

    Attributes:
        seed: Of the split into train and test images, the initial weights and the order of the images.
        epochs: Passes over the train images that one call makes.
        batch_size: Images a step.
        hidden_units: Width of the hidden layer.
        learning_rate: At step 0. At step `s` it is ``learning_rate / (1 + s / decay_steps)``.
        decay_steps: Steps after which the learning rate has halved.
        momentum: Share of the last step that is repeated.
    """

    seed: int = 0
    epochs: int = 20
    batch_size: int = 32
    hidden_units: int = 64
    learning_rate: float = 0.1
    decay_steps: int = 500
    momentum: float = 0.9


@dataclass(frozen=True)
class Epoch:
    """How good the network is after a pass over the train images."""

    number: int
    loss: float
    accuracy: float


@dataclass
class Network:
    """The network's state: all that is needed to go on training.

    Attributes:
        weights: Array of each layer.
        velocity: The last step of each layer.
        step: Steps made.
        epoch: Epochs made.
    """

    weights: dict[str, Floats]
    velocity: dict[str, Floats]
    step: int = 0
    epoch: int = 0

    @classmethod
    def initial(cls, hyperparameters: Hyperparameters) -> Network:
        """Make an untrained network (He et al. 2015, "Delving deep into rectifiers", for the scale of the weights)."""
        random = np.random.default_rng(hyperparameters.seed)
        hidden = hyperparameters.hidden_units
        weights = {
            "hidden_weights": random.normal(0.0, np.sqrt(2 / _PIXELS), (_PIXELS, hidden)),
            "hidden_bias": np.zeros(hidden),
            "output_weights": random.normal(0.0, np.sqrt(2 / hidden), (hidden, _CLASSES)),
            "output_bias": np.zeros(_CLASSES),
        }
        return cls(weights, {name: np.zeros_like(array) for name, array in weights.items()})

    def probabilities(self, images: Floats) -> Floats:
        """Give the probability of each digit for each image, shape (images, 10)."""
        return self._forward(images)[1]

    def learn(
        self, images: Floats, digits: Integers, *, learning_rate: float, momentum: float
    ) -> tuple[Floats, np.float64]:
        """Make one step down the gradient of the cross-entropy.

        Returns:
            The probabilities before the step, and the gradient's Euclidean norm.
        """
        hidden, probabilities = self._forward(images)
        score_gradient = probabilities.copy()
        score_gradient[np.arange(len(digits)), digits] -= 1.0
        score_gradient /= len(digits)
        hidden_gradient = (score_gradient @ self.weights["output_weights"].T) * (hidden > 0.0)
        gradient = {
            "hidden_weights": images.T @ hidden_gradient,
            "hidden_bias": hidden_gradient.sum(axis=0),
            "output_weights": hidden.T @ score_gradient,
            "output_bias": score_gradient.sum(axis=0),
        }
        for name in _LAYERS:
            self.velocity[name] = momentum * self.velocity[name] - learning_rate * gradient[name]
            self.weights[name] = self.weights[name] + self.velocity[name]
        self.step += 1
        return probabilities, np.sqrt(sum(np.square(array).sum() for array in gradient.values()))

    def _forward(self, images: Floats) -> tuple[Floats, Floats]:
        weights = self.weights
        hidden = np.maximum(images @ weights["hidden_weights"] + weights["hidden_bias"], 0.0)
        scores = hidden @ weights["output_weights"] + weights["output_bias"]
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return hidden, exponentials / exponentials.sum(axis=1, keepdims=True)

    def to_bytes(self) -> bytes:
        """Give the state as the content of an ``.npz`` file."""
        arrays = {f"weights/{name}": array for name, array in self.weights.items()}
        arrays |= {f"velocity/{name}": array for name, array in self.velocity.items()}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, progress=np.array([self.step, self.epoch]), **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Network:
        """Read what `to_bytes` gave.

        Raises:
            ValueError, KeyError, zipfile.BadZipFile: If it is something else.
        """
        with np.load(io.BytesIO(content)) as arrays:
            step, epoch = (int(number) for number in arrays["progress"])
            weights = {name: arrays[f"weights/{name}"] for name in _LAYERS}
            velocity = {name: arrays[f"velocity/{name}"] for name in _LAYERS}
        return cls(weights, velocity, step, epoch)


def train(
    directory: Path,
    hyperparameters: Hyperparameters,
    report: Callable[[Epoch], None] = lambda _epoch: None,
    tracking: Tracking | None = None,
) -> None:
    """Train for some epochs and log to a run directory; one of an earlier call is continued from its checkpoint.

    Args:
        directory: The run directory. It is made if it does not exist.
        hyperparameters: What to train with.
        report: Called after each epoch.
        tracking: What the flags of `codex_obs.flags` say.

    Raises:
        DemoError: If another run lies in the directory, or the checkpoint cannot be read.
        CodexObsError: If the run cannot be opened.
    """
    network = _resume(directory) or Network.initial(hyperparameters)
    train_images, train_digits, test_images, test_digits = _load(hyperparameters.seed)
    batch_size = hyperparameters.batch_size
    tracked: Tracking = {"name": RUN_NAME}
    tracked.update(tracking or {})

    with codex_obs.init(
        directory,
        config=asdict(hyperparameters),
        resume_step=network.step,
        max_shard_bytes=MAX_SHARD_BYTES,
        backup_count="all",
        **tracked,
    ) as run:
        for epoch in range(network.epoch, network.epoch + hyperparameters.epochs):
            order = np.random.default_rng([hyperparameters.seed, epoch]).permutation(len(train_digits))
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                step = network.step
                learning_rate = hyperparameters.learning_rate / (1.0 + step / hyperparameters.decay_steps)
                probabilities, gradient_norm = network.learn(
                    train_images[batch],
                    train_digits[batch],
                    learning_rate=learning_rate,
                    momentum=hyperparameters.momentum,
                )
                loss, accuracy = _grade(probabilities, train_digits[batch])
                run.log(
                    {
                        "loss": loss,
                        "accuracy": accuracy,
                        "learning_rate": learning_rate,
                        "gradient_norm": gradient_norm,
                    },
                    step=step,
                    dataset="digits/train",
                )

            network.epoch = epoch + 1
            probabilities = network.probabilities(test_images)
            loss, accuracy = _grade(probabilities, test_digits)
            confusion = np.zeros((_CLASSES, _CLASSES), dtype=np.int64)
            np.add.at(confusion, (test_digits, probabilities.argmax(axis=1)), 1)
            run.log(
                {"loss": loss, "accuracy": accuracy, "confusion_matrix": confusion},
                step=network.step - 1,
                split="eval",
                dataset="digits/test",
                tags={"phase": "eval", "epoch": network.epoch},
            )
            write_whole(directory / CHECKPOINT_NAME, network.to_bytes(), file_mode=0o600)
            report(Epoch(network.epoch, float(loss), float(accuracy)))
        run.close(_DELIVERY_S)


def _resume(directory: Path) -> Network | None:
    if not _is_ours(directory):
        raise DemoError(f"{directory} holds another run: name a new folder with --run-dir.")
    checkpoint = directory / CHECKPOINT_NAME
    try:
        return Network.from_bytes(checkpoint.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise DemoError(f"{checkpoint} cannot be read ({error}): delete it to train anew.") from error


def _is_ours(directory: Path) -> bool:
    try:
        identity = json.loads((directory / "run.json").read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return isinstance(identity, dict) and identity.get("name") == RUN_NAME


def _load(seed: int) -> tuple[Floats, Integers, Floats, Integers]:
    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(digits))
    images, digits = images[order] / _LARGEST_PIXEL, digits[order].astype(np.int64)
    return images[:_TRAIN_IMAGES], digits[:_TRAIN_IMAGES], images[_TRAIN_IMAGES:], digits[_TRAIN_IMAGES:]


def _grade(probabilities: Floats, digits: Integers) -> tuple[np.float64, np.float64]:
    """Give the mean cross-entropy and the share of images recognised."""
    of_truth = probabilities[np.arange(len(digits)), digits]
    return -np.log(np.maximum(of_truth, np.finfo(np.float64).tiny)).mean(), (
        probabilities.argmax(axis=1) == digits
    ).mean()
