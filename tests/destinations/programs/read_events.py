"""Print what TensorBoard's own reader finds in a folder of event files, as JSON."""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

EVERYTHING = {"scalars": 0, "tensors": 0}


def main() -> None:
    reader = EventAccumulator(sys.argv[1], size_guidance=EVERYTHING)
    reader.Reload()
    scalars = {
        tag: [(event.wall_time, event.step, event.value) for event in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }
    tensors: dict[str, object] = {}
    hparams: dict[str, object] = {}
    for tag in reader.Tags()["tensors"]:
        metadata = reader.SummaryMetadata(tag)
        plugin = metadata.plugin_data.plugin_name
        if plugin == "hparams":
            data = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
            start = data.session_start_info
            hparams |= {key: getattr(value, value.WhichOneof("kind")) for key, value in start.hparams.items()}
            continue
        arrays = [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in reader.Tensors(tag)]
        tensors[tag] = {
            "plugin": plugin,
            "values": [
                (step, array.tolist() if plugin == "histograms" else [text.decode() for text in array.tolist()])
                for step, array in arrays
            ],
        }
    json.dump({"scalars": scalars, "tensors": tensors, "hparams": hparams}, sys.stdout)


if __name__ == "__main__":
    main()
