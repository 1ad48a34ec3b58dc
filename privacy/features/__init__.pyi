from .encoding import Inputs as Inputs, encode_texts as encode_texts, joined as joined
from .normalising import normalise as normalise
from .rows import Features as Features, Sequences as Sequences
from .spec import NgramSpec as NgramSpec, SequenceSpec as SequenceSpec, Spec as Spec
from .tokenising import tokens as tokens, words as words
from .unicode import UNICODE_VERSION as UNICODE_VERSION
