"""accelerate: a tracker by its name; tensors are handed over as they are."""

import torch
from accelerate import Accelerator

from codex_obs.integrations.accelerate import register

register()
accelerator = Accelerator(cpu=True, log_with="codex_obs")
accelerator.init_trackers("line", config={"lr": 0.1}, init_kwargs={"codex_obs": {"run_dir": "runs/accelerate"}})

model = torch.nn.Linear(1, 1)
model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
for step in range(20):
    inputs = torch.rand(8, 1)
    loss = ((model(inputs) - 2 * inputs) ** 2).mean()
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    accelerator.log({"train_loss": loss}, step=step)
accelerator.end_training()
