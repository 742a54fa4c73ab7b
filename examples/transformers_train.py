"""transformers on the current run: the trainer's history, its arguments and the model's configuration."""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import codex_obs
from codex_obs.integrations.transformers import CodexObsCallback

model = BertForSequenceClassification(
    BertConfig(vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
)
data = [{"input_ids": torch.tensor([number % 16, 3]), "labels": number % 2} for number in range(64)]
arguments = TrainingArguments(output_dir="out", num_train_epochs=2, logging_steps=4, save_strategy="no", use_cpu=True)

with codex_obs.init("runs/transformers"):
    trainer = Trainer(model, arguments, train_dataset=data, eval_dataset=data, callbacks=[CodexObsCallback()])
    trainer.train()
    trainer.evaluate()
