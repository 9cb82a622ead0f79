"""A subscriber of a running service, and a robot that copies files into its drop folder."""

import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from daemon.messaging.listen import Message, Service, listen
from tests.service_process import ServiceProcess


@dataclass
class Subscriber:
    """A subscriber of the service on a thread of its own, with all messages that it received."""

    service: ServiceProcess
    messages: dict[int, Message] = field(default_factory=dict)
    conflicts: int = 0  # sequence numbers that came with two different messages
    repeated: int = 0  # messages that were passed on a second time

    def receive(self, message: Message) -> None:
        """Keep a message, and count it if its number was that of another or the same message."""
        known = self.messages.setdefault(message.sequence, message)
        self.conflicts += known != message
        self.repeated += known is not message and known == message

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Context manager during which the thread receives messages, after the last known one."""
        is_over = threading.Event()
        addresses = Service(f"ipc://{self.service.folder}/events", self.service.requests)
        thread = threading.Thread(
            target=listen,
            args=(addresses,),
            kwargs={
                "after": max(self.messages, default=0),
                "topic": "",
                "on_message": self.receive,
                "should_stop": is_over.is_set,
                "on_silence": lambda _text: None,
            },
        )
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def copy_files(service: ServiceProcess, drop: Path, files: Iterable[Path]) -> None:
    """Copy files of a drop folder to that of the service, as a robot writes them."""
    for file in files:
        copy = service.drop / file.relative_to(drop)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
