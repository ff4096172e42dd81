"""What cffi makes of native.h."""

from typing import Any

ffi: Any
lib: Any
