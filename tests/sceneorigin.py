"""What a scene's store and metadata record of where it is from."""

from syndiff.scenes.metadata import GaussianRecord, SceneOrigin
from syndiff.settings import Settings


def scene_origin(**changes):
    """The default Gaussian on sector 20, camera 3, CCD 3."""
    fields = {
        "software": "syndiff",
        "sector": 20,
        "camera": 3,
        "ccd": 3,
        "ffi": "reference.fits",
        "frame_digest": "",
        "config": Settings().scene("").to_dict(),
        "reduction": Settings().reduction,
        "response": GaussianRecord("gaussian", 40.0, 6, 8, 3.6),
    }
    return SceneOrigin(**fields | changes)
