from ._draw_load import draw_load
from ._draw_overlap import draw_overlap
from ._draw_paths import draw_paths
from ._draw_projection import draw_projection
from ._information import entropy, evenness, mutual_information
from ._load import dead_experts, expert_load, group_load, load_variation
from ._overlap import active_units, unit_overlap
from ._paths import count_paths, count_transitions, expert_paths
from ._projection import principal_components
from ._report import RoutingReport, routing_report
from ._separability import centroid_accuracy, silhouette

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
