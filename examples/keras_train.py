"""Keras on the current run: what goes into the history is logged, and `evaluate` too."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

import codex_obs
from codex_obs.integrations.keras import CodexObsCallback

inputs = np.random.default_rng(0).random((256, 4), dtype=np.float32)
targets = inputs.sum(axis=1)

model = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])
model.compile("adam", "mse", metrics=["mae"])

with codex_obs.init("runs/keras") as run:
    callback = CodexObsCallback()
    model.fit(inputs, targets, epochs=3, validation_split=0.25, verbose=0, callbacks=[callback])
    model.evaluate(inputs, targets, verbose=0, callbacks=[callback])

print(codex_obs.read(run.path).select("step", "split", "metric", "value"))
