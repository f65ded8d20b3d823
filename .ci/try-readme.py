"""README's first Python, from the installed package, with a tiny stand-in for the weights."""

import re
import sysconfig
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModel

import unveil
from unveil.attention.block_file import shipped_block
from unveil.features import weights
from unveil.results.movie import Movie
from unveil.synthetic.render import render

home = Path(sysconfig.get_path("purelib"))
assert home in Path(unveil.__file__).parents, unveil.__file__
package = Path(unveil.__file__).parent
for needed in (shipped_block(weights.DEFAULT), package / "py.typed", package / "view/page"):
    assert needed.exists(), f"the wheel lacks {needed.name}"
assert list(package.glob("evaluate/*.html")), "the wheel lacks the page of an evaluation"

movie = Movie(Path("dog.mp4"), Fraction(24), 96, 160)
for frame in render(frames=6, height=96, width=160, objects=2).frames:
    movie.write(frame, np.zeros((96, 160), np.uint8))
movie.close()
size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
size |= {"patch_size": 4, "image_size": 20, "use_mask_token": False}
torch.manual_seed(0)
AutoModel.from_config(AutoConfig.for_model("dinov2", **size)).save_pretrained("tiny")

example = re.search(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)[1]
small = 'unveil.segment("dog.mp4", backbone="./tiny", size=32'
assert 'unveil.segment("dog.mp4"' in example
exec(compile(example.replace('unveil.segment("dog.mp4"', small), "README.md", "exec"))
assert Path("out/dog/contact.png").is_file()
print("README's first example runs from the wheel")
