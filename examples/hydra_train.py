"""Hydra: `python examples/hydra_train.py -m lr=0.1,0.2` makes two runs, each in the folder of its job.

The callback in `hydra_config/config.yaml` opens and finishes them.
"""

import hydra
from omegaconf import DictConfig

import codex_obs


@hydra.main(version_base=None, config_path="hydra_config", config_name="config")  # type: ignore[untyped-decorator]
def train(config: DictConfig) -> float:
    """Train with the job's configuration, on the job's run."""
    loss = 1.0
    for step in range(config.steps):
        loss *= 1 - config.lr
        codex_obs.log({"loss": loss}, step)
    return loss


if __name__ == "__main__":
    train()
