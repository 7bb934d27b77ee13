"""Names in a company that stand for nothing, refused when a command opens it and not in the middle of a night."""

from infra.company.company import Company
from infra.company.python_file import refuse_unreadable
from rapport_feast.errors import Rejected


def refuse_unknown_names(company: Company) -> None:
    """Refuse a fact, column, adapter, label or recipe that there is not, and declarations that are wrong.

    Raises
    ------
    Rejected
        The first that was found.
    """
    from features.catalogue import catalogue_of
    from training.data.labels import labels_of
    from training.recipes.catalogue import recipes_of
    from validation.contracts.own import contract_of
    from validation.sources.catalogue import adapter

    for source in company.sources:
        columns = {column.name for column in contract_of(source).all_columns}
        for name in (*source.columns, *source.constants, *source.values):
            if name not in columns:
                wanted = f"columns of {source.fact}: {', '.join(sorted(columns))}"
                raise Rejected(f"source {source.name}, columns", wanted, name)
        adapter(source)
    for declaration in company.folder.of("recipes") if company.folder else ():
        refuse_unreadable(declaration)  # its library is heavy: it is loaded when a model is trained
    catalogue_of(company)
    labels, recipes = labels_of(company), recipes_of(company)
    for model in company.models:
        if model.label not in labels:
            raise Rejected(f"model {model.name}, label", f"one of {', '.join(labels)}", model.label)
        if model.recipe not in recipes:
            raise Rejected(f"model {model.name}, recipe", f"one of {', '.join(recipes)}", model.recipe)
