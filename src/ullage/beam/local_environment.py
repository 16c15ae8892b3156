"""Beam's side of a local worker: its environment, and the handler that starts and ends it.

The runner's futures are completed with an error as soon as a worker dies: Beam itself would
wait for ever for some of them, and speak of a closed channel for others.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    BeamFnControlServicer,
    GrpcWorkerHandler,
    WorkerHandler,
)
from apache_beam.transforms.environments import Environment, python_sdk_capabilities
from google.protobuf import json_format

from ullage.beam.crew import Crew, WorkerEnd, worker_command

URN = "ullage:env:local_worker:v1"
SDK_WORKER = "apache_beam.runners.worker.sdk_worker_main"

_TELL_EVERY_S = 0.05
_CONNECTED_EVERY_S = 0.01
_crews: dict[str, Crew] = {}
"""Crew id (the environment's payload) -> the crew of an execution that goes on now."""


@Environment.register_urn(URN, bytes)
class LocalWorkerEnvironment(Environment):
    """An SDK worker process of the crew `crew_id` on this machine."""

    def __init__(
        self,
        crew_id: str,
        capabilities: Any = (),
        artifacts: Any = (),
        resource_hints: Any = None,
    ) -> None:
        super().__init__(capabilities, artifacts, resource_hints)
        self.crew_id = crew_id

    def __eq__(self, other: object) -> bool:
        return bool(super().__eq__(other)) and self.crew_id == getattr(other, "crew_id", None)

    def __hash__(self) -> int:
        return hash((super().__hash__(), self.crew_id))

    def to_runner_api_parameter(self, context: Any) -> tuple[str, bytes]:
        """Return the URN and what the handler gets to know its crew by."""
        return URN, self.crew_id.encode()

    @staticmethod
    def from_runner_api_parameter(
        payload: bytes, capabilities: Any, artifacts: Any, resource_hints: Any, context: Any
    ) -> LocalWorkerEnvironment:
        """Return the environment that a pipeline's description names."""
        return LocalWorkerEnvironment(payload.decode(), capabilities, artifacts, resource_hints)


def environment_of(crew: Crew, crew_id: str) -> LocalWorkerEnvironment:
    """Return the environment whose workers are `crew`'s; `forget` it when they have ended."""
    _crews[crew_id] = crew
    return LocalWorkerEnvironment(crew_id, capabilities=python_sdk_capabilities())


def forget(crew_id: str) -> None:
    """Let go of a crew that has ended."""
    _crews.pop(crew_id, None)


@WorkerHandler.register_environment(URN, bytes)
class LocalWorkerHandler(GrpcWorkerHandler):
    """Starts one SDK worker under `ullage run`, and ends it."""

    def __init__(self, payload: bytes, state: Any, provision_info: Any, grpc_server: Any) -> None:
        super().__init__(state, provision_info, grpc_server)
        self._crew = _crews[payload.decode()]
        self._is_closed = threading.Event()
        self._teller = threading.Thread(target=self._tell, name="tell death", daemon=True)

    def start_worker(self) -> None:
        """Start the worker process; it connects by itself."""
        # Without a logging service: what a worker logs goes to the program's stderr, once.
        environment = {
            **os.environ,
            "CONTROL_API_SERVICE_DESCRIPTOR": f'url: "{self.control_address}"',
            "PIPELINE_OPTIONS": json_format.MessageToJson(
                self.provision_info.provision_info.pipeline_options
            ),
            "WORKER_ID": self.worker_id,
        }
        self._crew.start(self.worker_id, worker_command(SDK_WORKER), env=environment)
        self._teller.start()

    def await_connection(self) -> None:
        """Return when the worker has connected, or any worker has died."""
        while self.control_conn._state == BeamFnControlServicer.UNSTARTED_STATE:
            if self._crew.death(wait_s=_CONNECTED_EVERY_S) is not None:
                return

    def close(self) -> None:
        """Close the worker's channels and wait for its end."""
        self._is_closed.set()
        self._teller.join()
        self._crew.let_go(self.worker_id)
        if self._crew.is_failing:
            self._crew.end(self.worker_id)  # else its channels would wait for its bundle
        super().close()

    def stop_worker(self) -> None:
        """Wait until the worker's run has ended and is recorded."""
        self._crew.end(self.worker_id)

    def _tell(self) -> None:
        """Complete what the runner waits for with an error once any worker has died.

        Again and again, because the runner may ask this worker for something new meanwhile.
        """
        while not self._is_closed.wait(_TELL_EVERY_S):
            death = self._crew.death()
            if death is not None:
                self._fail_pending(death)

    def _fail_pending(self, death: WorkerEnd) -> None:
        connection = self.control_conn
        for instruction_id in tuple(connection._futures_by_id):
            future = connection._futures_by_id.get(instruction_id)
            if future is not None and not future.is_done():
                future.set(
                    beam_fn_api_pb2.InstructionResponse(
                        instruction_id=instruction_id, error=f"{death.name} has died"
                    )
                )
