"""h5py reads our checkpoints and safetensors reads our weights, value for value."""
import json
import os
import subprocess
import sys
import tempfile
import zlib

import h5py
import numpy as np
import torch
from safetensors.torch import load_file

DRIVER = os.path.join(os.environ["RLUF_BUILD"], "io_driver")


def main():
    expected = torch.arange(35, dtype=torch.float32).view(7, 5) / 3
    for ranks in (1, 2, 3):
        with tempfile.TemporaryDirectory() as temp:
            subprocess.run(["mpirun", "--oversubscribe", "--allow-run-as-root", "--bind-to", "none", "-n", str(ranks), DRIVER, temp], check=True)
            with h5py.File(temp + "/checkpoints/step_00000005.h5") as file:
                assert np.array_equal(file["tensors/a"][:], expected.numpy())
                bits = torch.from_numpy(file["tensors/b"][:])
                assert file["tensors/b"].attrs["dtype"] in (b"bfloat16", "bfloat16")
                assert torch.equal(bits.view(torch.bfloat16).float(), torch.arange(9.0))
                text = bytes(file["attributes/manifest"][:])
                manifest = json.loads(text)
                assert str(zlib.crc32(text)) == bytes(file["attributes/manifest_crc32"][:]).decode()
                assert manifest["step"] == 5 and manifest["written_by"]["ranks"] == ranks
                entry = manifest["tensors"][0]
                assert entry["crc32"] == [zlib.crc32(expected.numpy().tobytes())] and entry["shape"] == [7, 5]
            weights = load_file(temp + "/model/model.safetensors")
            assert torch.equal(weights["a"], expected) and weights["b"].dtype == torch.bfloat16 and weights["n"].tolist() == [0, 1, 2, 3]
    print("h5py and safetensors agree on files of 1, 2 and 3 ranks")


if __name__ == "__main__":
    sys.exit(main())
