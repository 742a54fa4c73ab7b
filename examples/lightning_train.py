"""Lightning on the current run: losses by split, the epoch, and checkpoints in the run directory."""

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

import codex_obs
from codex_obs.integrations.lightning import CodexObsLogger


class Model(lightning.LightningModule):  # type: ignore[misc]
    """Fits y = 2x."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:  # noqa: D102
        loss = ((self.layer(batch[0]) - 2 * batch[0]) ** 2).mean()
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:  # noqa: D102
        return torch.optim.SGD(self.parameters(), lr=0.1)


with codex_obs.init("runs/lightning"):
    trainer = lightning.Trainer(logger=CodexObsLogger(), max_epochs=2, log_every_n_steps=2, accelerator="cpu")
    trainer.fit(Model(), DataLoader(TensorDataset(torch.rand(64, 1)), batch_size=8))
