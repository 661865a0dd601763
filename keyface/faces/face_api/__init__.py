"""The small face networks of npm's `@vladmandic/face-api`: detectors, landmarks, identity, age, expression.

They are fetched by `keyface weights get face-api` and read by `FaceApi.load`: 13 MB in all, MIT; the
identity network is dlib's (CC0) in another file format. They make identity on real photographs work on a
machine without any model hub; ArcFace is better wherever it can be had.
"""

from keyface.faces.face_api.suite import FaceApi

__all__ = ["FaceApi"]
