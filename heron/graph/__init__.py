"""A model as a graph: values, weights, states, nodes, the ops they name, and passes over them."""
