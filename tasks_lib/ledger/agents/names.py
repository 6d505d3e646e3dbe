"""
Names for agents: adjective-animal, easy to say and to type.
"""

from __future__ import annotations

import re
import secrets

USER = "user"
"""Names the person who uses the agents, as a sender or recipient of messages; no agent may have this name."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

ADJECTIVES = (
    "amber bold brave bright brisk calm clever cosy deft eager fair fleet fond gentle glad golden happy honest humble "
    "jolly keen kind lively lucky mellow merry mild neat nimble noble patient plucky polite proud quick quiet ready "
    "rosy sage sharp shy silent silver sleek smart snug sober solid spry steady still sturdy subtle sunny swift tidy "
    "tranquil trusty upbeat vivid warm wise witty young zesty"
)

ANIMALS = (
    "badger bear beaver bison bobcat camel cheetah cobra condor crane crow deer dingo dolphin dove eagle egret elk "
    "falcon ferret finch fox gazelle gecko gibbon goose hare hawk heron ibex jackal jaguar kestrel kiwi koala lemur "
    "lion lizard llama lynx magpie marmot marten mole moose newt ocelot okapi orca osprey otter owl panda panther "
    "pelican puffin puma quail rabbit raven robin salmon seal shrew sloth sparrow stork swan tapir tiger toucan "
    "turtle viper vole walrus weasel whale wolf wombat wren yak zebra"
)


def is_name(text: str) -> bool:
    """Whether *text* is a valid agent name: safe to type after a flag and to print in a terminal."""
    return text != USER and _NAME.fullmatch(text) is not None


def propose_name() -> str:
    """Return a random name, one of several thousand."""
    return f"{secrets.choice(ADJECTIVES.split())}-{secrets.choice(ANIMALS.split())}"
