"""Look at the routing: figures of a record, pictures of them, and what both are made of."""

from mept.inspect._draw_load import draw_load
from mept.inspect._draw_overlap import draw_overlap
from mept.inspect._draw_paths import draw_paths
from mept.inspect._draw_projection import draw_projection
from mept.inspect._information import entropy, evenness, mutual_information
from mept.inspect._load import dead_experts, expert_load, group_load, load_variation
from mept.inspect._overlap import active_units, unit_overlap
from mept.inspect._paths import count_paths, count_transitions, expert_paths
from mept.inspect._projection import principal_components
from mept.inspect._report import RoutingReport, routing_report
from mept.inspect._separability import centroid_accuracy, silhouette

__all__ = [
    "RoutingReport",
    "active_units",
    "centroid_accuracy",
    "count_paths",
    "count_transitions",
    "dead_experts",
    "draw_load",
    "draw_overlap",
    "draw_paths",
    "draw_projection",
    "entropy",
    "evenness",
    "expert_load",
    "expert_paths",
    "group_load",
    "load_variation",
    "mutual_information",
    "principal_components",
    "routing_report",
    "silhouette",
    "unit_overlap",
]
