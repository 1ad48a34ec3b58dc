from .base import ExamplesOf as ExamplesOf, Population as Population
from .build import FederationData as FederationData, build as build
from .poison import Poison as Poison
