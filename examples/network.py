"""A small perceptron with its gradient and Adam, in NumPy: what the examples of reinforcement learning train."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_DECAY = (0.9, 0.999)
_TINY = 1e-8


class Network:
    """Tanh layers with a linear output.

    Args:
        sizes: Widths of the layers, from input to output.
        generator: Where the first weights come from.
        output_scale: Size of the last layer's first weights: small, so that a policy begins undecided.
    """

    def __init__(self, sizes: list[int], generator: np.random.Generator, *, output_scale: float = 1.0) -> None:
        self.weights: list[Floats] = []
        for inputs, outputs in pairwise(sizes):
            square = generator.normal(size=(max(inputs, outputs), max(inputs, outputs)))
            self.weights += [np.linalg.qr(square)[0][:inputs, :outputs], np.zeros(outputs)]
        self.weights[-2] *= output_scale
        self._inputs: list[Floats] = []
        self._moments = [(np.zeros_like(weight), np.zeros_like(weight)) for weight in self.weights]
        self._updates = 0

    def __call__(self, inputs: Floats) -> Floats:
        """Compute the outputs, and keep what `train` needs."""
        self._inputs = [inputs]
        for layer in range(0, len(self.weights), 2):
            inputs = inputs @ self.weights[layer] + self.weights[layer + 1]
            if layer + 2 < len(self.weights):
                inputs = np.tanh(inputs)
                self._inputs.append(inputs)
        return inputs

    def copy_from(self, other: Network) -> None:
        """Take over the weights of a network of the same shape."""
        self.weights = [weight.copy() for weight in other.weights]

    def train(self, output_gradient: Floats, *, learning_rate: float, max_norm: float = 0.5) -> float:
        """Follow the gradient of the last call's outputs by one step of Adam, and return its norm before clipping."""
        gradients: list[Floats] = []
        for layer in reversed(range(0, len(self.weights), 2)):
            inputs = self._inputs[layer // 2]
            gradients = [inputs.T @ output_gradient, output_gradient.sum(axis=0), *gradients]
            if layer:
                output_gradient = (output_gradient @ self.weights[layer].T) * (1 - inputs**2)
        norm = float(np.sqrt(sum((gradient**2).sum() for gradient in gradients)))
        clip = min(1.0, max_norm / (norm + _TINY))
        self._updates += 1
        first, second = _DECAY
        rate = learning_rate * np.sqrt(1 - second**self._updates) / (1 - first**self._updates)
        for weight, gradient, (mean, square) in zip(self.weights, gradients, self._moments, strict=True):
            mean[:] += (1 - first) * (clip * gradient - mean)
            square[:] += (1 - second) * ((clip * gradient) ** 2 - square)
            weight[:] -= rate * mean / (np.sqrt(square) + _TINY)
        return norm


def softmax(logits: Floats) -> Floats:
    """Turn the last axis into probabilities."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sample(probabilities: Floats, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw an action from each row."""
    drawn = generator.random((len(probabilities), 1)) > probabilities.cumsum(axis=1)
    return np.asarray(np.minimum(drawn.sum(axis=1), probabilities.shape[1] - 1), dtype=np.int64)
