"""Slot models against slow loops, and what every one of them has to keep."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from torch.nn import functional as F

from oracles import slots_plain as plain
from unveil.attention.tensor_file import write_module
from unveil.errors import InputError, WeightsError
from unveil.slots.attention import InvariantSlotAttention, SlotAttention, places
from unveil.slots.carry import Carrier, carried
from unveil.slots.decoder import Autoregressive, Broadcast, Mixer
from unveil.slots.kmeans import cluster_keys
from unveil.slots.layers import TransformerLayer
from unveil.slots.merging import alike, joined
from unveil.slots.model import Seen, SlotModel, new_model
from unveil.slots.model_file import load_model, model_metadata, save_model
from unveil.slots.settings import SlotSettings

SMALL = {"slots": 3, "width": 8, "decoder_width": 13, "decoder_layers": 2}
MODELS = {
    "videosaur": SlotSettings(**SMALL),
    "slotcontrast": SlotSettings(
        **SMALL, start="learned", mlp=11, decoder="broadcast", similarity=False
    ),
    "savi": SlotSettings(**SMALL, mlp=11, hidden="raw", similarity=False, steps=1),
    "steve": SlotSettings(
        **SMALL | {"decoder_width": 12}, mlp=11, mlp_last=False, hidden="raw", first_steps=2,
        similarity=False, decoder="autoregressive", dropout=0.1,
    ),
    "solv": SlotSettings(
        slots=5, width=8, decoder_width=13, decoder_layers=2, start="learned", mlp=11,
        time="window", around=1, attention="invariant", hidden="raw", projection=1, heads=2,
        decoder="broadcast", similarity=False, merge=0.5, encoder_layers=2,
    ),
}  # fmt: skip


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """In double precision, no parameter at a special value."""
    module.double()
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p += 0.1 * rand(*p.shape, seed=i)
    return module


def same_values_and_gradients(module, fast, slow, *inputs) -> None:
    """Two ways to compute the same tuple of tensors, held together value by value."""
    found = []
    for way in (fast, slow):
        given = [x.clone().requires_grad_() for x in inputs]
        out = way(*given)
        total = sum((y * rand(*y.shape, seed=7 + i)).sum() for i, y in enumerate(out))
        of = [*given, *module.parameters()]
        grads = torch.autograd.grad(total, of, allow_unused=True)
        zeros = [torch.zeros_like(x) if g is None else g for g, x in zip(grads, of, strict=True)]
        found.append(([y.detach() for y in out], zeros))
    for fast_part, slow_part in zip(*found, strict=True):
        torch.testing.assert_close(fast_part, slow_part, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("mlp", "raw", "last"),
    [(0, False, True), (11, False, True), (11, True, True), (11, True, False)],
)
def test_slot_attention_is_that_of_the_loops(mlp, raw, last):
    torch.manual_seed(0)
    module = moved(SlotAttention(6, mlp, raw, last))

    def fast(slots, x):
        got = module(slots, x, 2)
        return got.slots, got.shares

    def slow(slots, x):
        got = [plain.attend(module, s, y, 2) for s, y in zip(slots, x, strict=True)]
        return tuple(torch.stack(part) for part in zip(*got, strict=True))

    same_values_and_gradients(module, fast, slow, rand(2, 3, 6), rand(2, 7, 6, seed=1))


def test_invariant_slot_attention_is_that_of_the_loops():
    torch.manual_seed(0)
    module = moved(InvariantSlotAttention(4, 3, 5, places(2, 3)))

    def fast(slots, x):
        got = module(slots, x, 2)
        return got.slots, got.shares, got.frame.place[:, :, 0], got.frame.extent[:, :, 0]

    def slow(slots, x):
        got = [plain.attend_invariant(module, s, y, 2) for s, y in zip(slots, x, strict=True)]
        return tuple(torch.stack(part) for part in zip(*got, strict=True))

    same_values_and_gradients(module, fast, slow, rand(2, 3, 4), rand(2, 6, 4, seed=1))


def test_what_the_perceptron_of_invariant_attention_adds_is_dropped_at_random_while_training():
    torch.manual_seed(0)
    module = moved(InvariantSlotAttention(8, 3, 5, places(2, 3), dropout=0.999999))
    slots, x = rand(1, 3, 8), rand(1, 6, 8, seed=1)
    dropped, whole = module(slots, x, 1).slots, module.eval()(slots, x, 1).slots
    module.update.mlp = torch.nn.Sequential()
    without = module(slots, x, 1).slots
    torch.testing.assert_close(dropped, without)
    assert not torch.allclose(whole, without)


def test_invariant_slots_begin_with_extents_of_their_own():
    """As in SOLV's code; of one extent, they would stay alike (docs/slots.md)."""
    torch.manual_seed(0)
    extents = InvariantSlotAttention(8, 400, 0, places(2, 2)).extent.detach().flatten()
    assert abs(float(extents.mean())) < 0.003 and 0.018 < float(extents.std()) < 0.022


@pytest.mark.parametrize("memory", [False, True])
def test_a_transformer_layer_is_that_of_the_loops(memory):
    torch.manual_seed(0)
    layer = moved(TransformerLayer(6, 2))

    def fast(x, m):
        return (layer(x, m if memory else None),)

    def slow(x, m):
        pairs = [(a, b if memory else None) for a, b in zip(x, m, strict=True)]
        return (torch.stack([plain.transformer(layer, *pair) for pair in pairs]),)

    if memory:
        same_values_and_gradients(layer, fast, slow, rand(2, 5, 6), rand(2, 3, 6, seed=1))
        return
    same_values_and_gradients(layer, lambda x: fast(x, x), lambda x: slow(x, x), rand(2, 5, 6))


@pytest.mark.parametrize(("kind", "slow"), [(Broadcast, plain.broadcast), (Mixer, plain.mixer)])
def test_decoders_are_those_of_the_loops(kind, slow):
    torch.manual_seed(0)
    decoder = moved(kind(8, 5, 7, 2, 4))

    def by_loops(slots):
        got = [slow(decoder, s) for s in slots]
        return tuple(torch.stack(part) for part in zip(*got, strict=True))

    same_values_and_gradients(decoder, lambda s: decoder(s), by_loops, rand(2, 3, 8))
    torch.testing.assert_close(decoder.masks(rand(2, 3, 8)), decoder(rand(2, 3, 8))[0])


def test_the_autoregressive_decoder_is_that_of_the_loops():
    torch.manual_seed(0)
    decoder = moved(Autoregressive(5, 4, 6, 2, 3, channels=7, heads=2, dropout=0.1)).eval()

    def by_loops(slots, features):
        pairs = zip(slots, features, strict=True)
        return (torch.stack([plain.autoregressive(decoder, *pair) for pair in pairs]),)

    given = rand(2, 3, 5), rand(2, 4, 7, seed=1)
    same_values_and_gradients(decoder, lambda s, x: (decoder(s, x),), by_loops, *given)


def test_what_is_said_of_a_patch_knows_only_those_before_it():
    decoder = moved(Autoregressive(5, 4, 6, 2, 3, channels=7, heads=2, dropout=0.0))
    slots, features = rand(1, 3, 5), rand(1, 4, 7, seed=1)
    first = decoder(slots, features)
    features[:, 2] += 1
    second = decoder(slots, features)
    assert torch.equal(first[:, :3], second[:, :3])
    assert not torch.allclose(first[:, 3], second[:, 3])


def test_a_place_relative_to_slots_is_added_before_decoding():
    decoder = Broadcast(4, 3, 7, 1, 2)
    slots, seen = torch.randn(1, 2, 4), torch.randn(1, 2, 3, 4)
    masks, _ = decoder(slots, seen)
    want = torch.stack(
        [
            torch.stack([decoder.mlp(s + decoder.places[j] + near[j])[-1] for j in range(3)])
            for s, near in zip(slots[0], seen[0], strict=True)
        ]
    )
    torch.testing.assert_close(masks[0], want.softmax(0), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_masks_sum_to_one_and_a_clip_does_not_depend_on_its_neighbours(name):
    model = moved(new_model(MODELS[name], 5, (2, 3), seed=1)).eval()
    keys = rand(2, 3, 2, 3, 5)
    start = model.begin(2, torch.Generator().manual_seed(0))
    recurrent = model.settings.time == "recurrent"
    seen = model(keys, start if recurrent else None)
    torch.testing.assert_close(seen.masks.sum(2), torch.ones_like(seen.masks.sum(2)))
    alone = model(keys[1:], start[1:] if recurrent else None)
    torch.testing.assert_close(alone.masks[0], seen.masks[1])
    torch.testing.assert_close(alone.outputs[0], seen.outputs[1])
    masks = model(keys, start if recurrent else None, only_masks=True)
    torch.testing.assert_close(masks.masks, seen.masks)
    assert masks.outputs.shape[-1] == 0


@pytest.mark.parametrize("name", ["videosaur", "slotcontrast", "savi", "steve"])
def test_slots_permuted_give_permuted_masks_and_the_same_features(name):
    model = moved(new_model(MODELS[name], 5, (2, 3), seed=1)).eval()
    keys, start, order = rand(1, 4, 2, 3, 5), rand(1, 3, 8, seed=3), torch.tensor([2, 0, 1])
    first, second = model(keys, start), model(keys, start[:, order])
    torch.testing.assert_close(second.masks, first.masks[:, :, order])
    torch.testing.assert_close(second.slots, first.slots[:, :, order])
    torch.testing.assert_close(second.outputs, first.outputs)


def test_learned_slots_of_a_window_permuted_give_permuted_masks():
    settings = SlotSettings(**MODELS["solv"].said(merge=0.0))
    model = moved(new_model(settings, 5, (2, 3), seed=1)).eval()
    keys, order = rand(1, 3, 2, 3, 5), torch.tensor([2, 0, 4, 1, 3])
    first = model(keys)
    with torch.no_grad():
        for p in (model.first, model.attention.place, model.attention.extent):
            p.copy_(p[order])
    second = model(keys)
    torch.testing.assert_close(second.masks, first.masks[:, :, order])
    torch.testing.assert_close(second.outputs, first.outputs)


def test_a_recurrent_model_is_its_parts_in_turn():
    model = moved(new_model(MODELS["slotcontrast"], 5, (2, 3), seed=1))
    keys = rand(1, 3, 2, 3, 5)
    seen, slots = model(keys), model.first
    for t in range(3):
        x = model.project((keys[0, t].flatten(0, 1) - model.mean) / model.scale)
        slots, _ = plain.attend(model.attention, slots, x, 3 if t == 0 else 2)
        torch.testing.assert_close(seen.slots[0, t], slots)
        masks, outputs = plain.broadcast(model.decoder, slots)
        torch.testing.assert_close(seen.masks[0, t], masks)
        torch.testing.assert_close(seen.outputs[0, t], outputs)
        slots = plain.transformer(model.predictor, slots, None)
    torch.testing.assert_close(seen.after[0], slots)


def test_masks_of_an_autoregressive_model_are_the_shares_of_slot_attention():
    model = moved(new_model(MODELS["steve"], 5, (2, 3), seed=1)).eval()
    keys, slots = rand(1, 3, 2, 3, 5), rand(3, 8, seed=2)
    seen = model(keys, slots[None], begins=True)
    for t in range(3):
        x = (keys[0, t].flatten(0, 1) - model.mean) / model.scale
        slots, shares = plain.attend(model.attention, slots, model.project(x), 2)
        torch.testing.assert_close(seen.masks[0, t], shares)
        want = plain.autoregressive(model.decoder, slots, x)
        torch.testing.assert_close(seen.outputs[0, t], want)
        slots = plain.transformer(model.predictor, slots, None)


def test_a_window_ignores_frames_that_are_not_of_the_video():
    model = moved(new_model(MODELS["solv"], 5, (2, 3), seed=1)).eval()
    keys, present = rand(1, 3, 2, 3, 5), torch.tensor([[False, True, True]])
    first = model(keys, present=present)
    keys[:, 0] = rand(1, 2, 3, 5, seed=9)
    second = model(keys, present=present)
    torch.testing.assert_close(first.outputs, second.outputs)
    assert not torch.allclose(model(keys).outputs, second.outputs)


@pytest.mark.parametrize("seed", range(8))
def test_merging_is_complete_linkage(seed):
    slots = rand(6, 3, seed=seed)
    groups = alike(slots, 0.5)
    want = fcluster(linkage(pdist(slots.numpy(), "cosine"), "complete"), 0.5, "distance")
    slow = plain.complete_linkage(slots, 0.5)
    members = {frozenset(np.flatnonzero(want == g).tolist()) for g in want}
    assert members == set(map(frozenset, slow))
    if len(slow) < 3:
        assert groups.tolist() == list(range(6))
        return
    assert {frozenset((groups == g).nonzero()[:, 0].tolist()) for g in groups} == set(
        map(frozenset, slow)
    )
    assert groups[0] == 0 and all(g <= groups[:i].max() + 1 for i, g in enumerate(groups) if i)


def test_what_is_joined_is_a_mean_or_a_sum():
    x, groups = torch.tensor([[1.0], [3.0], [8.0]]), torch.tensor([0, 1, 0])
    assert joined(x, groups, mean=True).tolist() == [[4.5], [3.0]]
    assert joined(x, groups, mean=False).tolist() == [[9.0], [3.0]]


def test_merged_slots_leave_one_mask_a_group():
    settings = SlotSettings(**MODELS["solv"].said(merge=1e-6))
    model = moved(new_model(settings, 5, (2, 3), seed=1)).eval()
    with torch.no_grad():  # the places of two slots made those of two others
        for p in (model.first, model.attention.place, model.attention.extent):
            p[3:] = p[:2]
    keys = rand(2, 3, 2, 3, 5)
    for masks in model(keys).masks[:, 0]:
        assert (masks[3:] == 0).all() and (masks[:3] > 0).all()
        torch.testing.assert_close(masks.sum(0), torch.ones(6, dtype=torch.float64))
    first, second = model(keys, merged=[False, True]).masks[:, 0]
    assert (first > 0).all() and (second[3:] == 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_chunks_change_nothing(name):
    model = moved(new_model(MODELS[name], 5, (2, 3), seed=1)).eval()
    keys = rand(7, 2, 3, 5)
    whole = Carrier(model)
    want = torch.cat([whole.add(keys), whole.flush()])
    assert len(want) == 7
    for cuts in ([1] * 7, [2, 5], [6, 1]):
        carrier = Carrier(model)
        parts = [carrier.add(part) for part in keys.split(cuts)]
        assert len(parts[0]) == max(0, cuts[0] - carrier.delay)
        torch.testing.assert_close(torch.cat([*parts, carrier.flush()]), want)


@pytest.mark.parametrize("seed", range(8))
def test_ids_of_the_frame_before_are_given_first(seed):
    known, slots = (F.normalize(rand(n, 3, seed=seed + n), dim=-1) for n in (5, 2 + seed % 4))
    known[4] = 0
    visible = torch.tensor([True, False, seed % 2 == 0, False, False])

    def worth(ids):
        alike = sum(float(known[i] @ slots[j]) for j, i in enumerate(ids))
        return sum(bool(visible[i]) for i in ids), alike

    best = max(permutations(range(5), len(slots)), key=worth)
    assert tuple(carried(known, visible, slots).tolist()) == best


def test_an_object_keeps_its_id_though_a_joined_slot_looked_more_like_it():
    model = new_model(SlotSettings(**SMALL, time="window", around=1), 5, (1, 2), seed=1)
    swan, turned, water = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0, 0, 1]])
    nothing, left, right = torch.tensor([[0.0, 0], [1, 0], [0, 1]])
    frames = [
        ([swan, turned, water], [left, nothing, right]),
        ([water, turned, turned], [right, left, nothing]),  # joined as 1, which was like it
        ([water, turned, swan], [nothing, left + right, nothing]),  # the water is not seen
        ([water, turned, swan], [right, nothing, left]),  # and is again
    ]

    def see(keys, *_, **__):
        slots, masks = (torch.stack(x)[None, None] for x in frames[int(keys[0, 1].mean())])
        return Seen(slots, masks, masks.new_zeros(1, 1, 2, 0))

    model.forward = see
    carrier = Carrier(model)
    keys = torch.arange(4.0)[:, None, None, None].expand(-1, 1, 2, 5)
    masks = torch.cat([carrier.add(keys), carrier.flush()])[:, :, 0]
    both = left + right
    assert masks[:, 0].equal(torch.stack([left, left, both, left]))
    assert masks[:, 1].equal(torch.zeros(4, 2))
    assert masks[:, 2].equal(torch.stack([right, right, nothing, right]))


def test_a_video_shorter_than_a_window_is_seen():
    model = moved(new_model(MODELS["solv"], 5, (2, 3), seed=1)).eval()
    for t in (1, 2):
        carrier = Carrier(model)
        masks = torch.cat([carrier.add(rand(t, 2, 3, 5)), carrier.flush()])
        assert len(masks) == t
        torch.testing.assert_close(masks.sum(1), torch.ones_like(masks.sum(1)))


def test_a_model_comes_back_from_its_file(tmp_path):
    model = new_model(MODELS["solv"], 5, (2, 3), seed=1)
    with torch.no_grad():
        model.mean += 1
    save_model(model, tmp_path / "m.safetensors", method="solv", backbone="b", size=[28, 42])
    about = model_metadata(tmp_path / "m.safetensors")
    assert (about["method"], about["backbone"], about["size"]) == ("solv", "b", [28, 42])
    again = load_model(tmp_path / "m.safetensors", 5)
    keys = torch.randn(1, 3, 2, 3, 5)
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))
    with torch.inference_mode():
        # On some processors even a copy in memory rounds otherwise.
        torch.testing.assert_close(again(keys).masks, model.eval()(keys).masks)
    old = {name: about[name] for name in about if name != "kind"}  # as files of 0.3.0 are
    old["model"] = {name: x for name, x in about["model"].items() if name != "mlp_last"}
    write_module(model, tmp_path / "old.safetensors", torch.float32, old)
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path / "old.safetensors")(keys).masks, again(keys).masks)
    with pytest.raises(WeightsError, match="reads keys of 5 channels, the backbone has 6"):
        load_model(tmp_path / "m.safetensors", 6)
    with pytest.raises(WeightsError, match="no model"):
        load_model(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"slots": 0}, "slots must be at least 1"),
        ({"slots": 256}, "slots must be at most 255, got 256"),
        ({"width": 6}, "no multiple of 4 heads"),
        ({"merge": 0.1}, "go with time = 'window'"),
        ({"decoder": "autoregressive", "decoder_width": 6}, "decoder_width 6 is no multiple of 4"),
        ({"decoder": "autoregressive", "time": "window"}, "goes with time = 'recurrent'"),
    ],
)
def test_settings_that_make_no_model(wrong, said):
    with pytest.raises(WeightsError, match=said):
        SlotSettings(**wrong)


def test_a_new_model_leaves_the_random_numbers_as_they_are():
    torch.manual_seed(3)
    want = torch.rand(2)
    torch.manual_seed(3)
    a, b = (new_model(MODELS["videosaur"], 5, (2, 3), seed=4) for _ in range(2))
    assert torch.equal(torch.rand(2), want)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert isinstance(a, SlotModel)


def test_kmeans_finds_directions_and_keeps_them_over_time():
    rng = np.random.default_rng(0)
    truth = rng.choice(4, (3, 4, 5), p=[0.4, 0.3, 0.2, 0.1])
    means = 5 * rng.normal(size=(4, 9)) + 40
    keys = torch.from_numpy(means[truth] + rng.normal(size=(3, 4, 5, 9)) * 0.1)
    found = cluster_keys(keys, 4).numpy()
    assert len({(a, b) for a, b in zip(truth.ravel(), found.ravel(), strict=True)}) == 4
    counts = np.bincount(found.ravel())
    assert (np.diff(counts) <= 0).all(), "the largest comes first"
    assert np.array_equal(found, cluster_keys(keys, 4).numpy())
    with pytest.raises(InputError, match="61 clusters of 60 patches"):
        cluster_keys(keys, 61)


def test_kmeans_is_as_good_as_scikit_learn():
    from sklearn.cluster import KMeans

    keys = rand(2, 6, 8, 5)
    x = keys.flatten(0, 2) - keys.flatten(0, 2).mean(0)
    x = (x / x.norm(dim=1, keepdim=True)).numpy()
    found = cluster_keys(keys, 3).flatten().numpy()
    centres = np.stack([x[found == i].mean(0) for i in range(3)])
    ours = ((x - centres[found]) ** 2).sum()
    assert ours < 1.05 * KMeans(3, n_init=10, random_state=0).fit(x).inertia_
