"""Promise: a process that pushes again and again notices a catalogue that was made anew."""

from tests.conftest import MakeDataset


def test_contents_are_shared_by_the_numbers_of_the_new_catalogue(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(share=True, pack_size=0)
    for number in range(8):
        (dataset.root / f"file-{number}").write_bytes(b"%d" % number * 1000)
    dataset.push()
    (dataset.root / "copy").write_bytes(b"3" * 1000)
    dataset.push()
    dataset.rebuild_from_store()
    for number in range(8):
        (dataset.root / f"again-{number}").write_bytes(b"%d" % number * 1000)
    assert dataset.push().failures == []
    dataset.assert_restores()
