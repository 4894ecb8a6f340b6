"""The nodes of a forest for its model file, a tree at once: skl2onnx goes node by node, five seconds for 500,000.

It is the one place that reaches into skl2onnx; a test compares the files of both ways byte for byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from skl2onnx.operator_converters import random_forest

ADD_NODE_BY_NODE = random_forest.add_tree_to_attribute_pairs


def convert_trees_at_once() -> None:
    """Has skl2onnx convert each tree of a forest by `add_tree`; a repeated call is harmless."""
    random_forest.add_tree_to_attribute_pairs = add_tree


def add_tree(  # noqa: PLR0917  called by skl2onnx
    attributes: dict[str, list[Any]],
    is_classifier: bool,
    tree: Any,
    tree_id: int,
    tree_weight: float,
    first_id: int,
    are_counts: bool,
    adjust_thresholds: bool = False,
    dtype: Any = None,
) -> None:
    """Appends a tree's nodes and leaves to the attributes of an ONNX tree ensemble.

    Args:
        attributes: as skl2onnx makes them, each as long as there are nodes or weights so far.
        is_classifier: whether leaves weigh classes, and not targets.
        tree: the `tree_` of a fitted tree of scikit-learn.
        tree_id: number of the tree in the ensemble.
        tree_weight: factor of its leaves.
        first_id: id of the first class or target.
        are_counts: whether each leaf's weights are divided by their sum.
        adjust_thresholds: whether thresholds become the float32 numbers that split float32 rows alike.
        dtype: number type of the rows; other trees than adjusted ones of float32 go node by node.
    """
    if not adjust_thresholds or dtype != np.float32:
        ADD_NODE_BY_NODE(
            attributes,
            is_classifier,
            tree,
            tree_id,
            tree_weight,
            first_id,
            are_counts,
            adjust_threshold_for_sklearn=adjust_thresholds,
            dtype=dtype,
        )
        return
    count = tree.node_count
    is_leaf = tree.children_left < 0
    attributes["nodes_treeids"] += [tree_id] * count
    attributes["nodes_nodeids"] += range(count)
    attributes["nodes_featureids"] += np.where(is_leaf, 0, tree.feature).tolist()
    attributes["nodes_modes"] += np.where(is_leaf, "LEAF", "BRANCH_LEQ").tolist()
    attributes["nodes_values"] += np.where(is_leaf, 0.0, round_down(tree.threshold)).tolist()
    attributes["nodes_truenodeids"] += np.where(is_leaf, 0, tree.children_left).tolist()
    attributes["nodes_falsenodeids"] += np.where(is_leaf, 0, tree.children_right).tolist()
    attributes["nodes_missing_value_tracks_true"] += [0] * count
    attributes["nodes_hitrates"] += [1.0] * count

    weights = tree.value[is_leaf].reshape(int(is_leaf.sum()), -1)
    if are_counts:
        sums = weights.cumsum(axis=1)[:, -1:]  # in the order in which skl2onnx adds
        weights = weights * (tree_weight / np.where(sums == 0, 1, sums))
    else:
        weights = weights * tree_weight
    if is_classifier and weights.shape[1] == 2:
        weights = weights[:, 1:]  # the other class has the rest
    each = weights.shape[1]
    kind = "class" if is_classifier else "target"
    attributes[f"{kind}_treeids"] += [tree_id] * weights.size
    attributes[f"{kind}_nodeids"] += np.repeat(np.flatnonzero(is_leaf), each).tolist()
    attributes[f"{kind}_ids"] += list(range(first_id, first_id + each)) * len(weights)
    attributes[f"{kind}_weights"] += weights.ravel().tolist()


def round_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The largest float32 numbers that are not above the thresholds: a float32 number is below both or above both."""
    rounded = thresholds.astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded > thresholds, below, rounded)
