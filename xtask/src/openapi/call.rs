//! One call of an API, from which its part of the document is made.

use std::collections::BTreeMap;
use trimtab_protocol::problem::{self, Problem, ProblemKind};
use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{Ref, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    Components, ContentBuilder, ObjectBuilder, Paths, RefOr, Required, ResponseBuilder, Schema,
};

/// A document while calls are added to it.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) paths: Paths,
    pub(super) components: Components,
    /// What every call may answer besides, without a kind of problem of its own: its status and what it says.
    pub(super) everywhere: &'static [(u16, &'static str)],
}

/// What a call answers when it does as asked.
pub(super) struct Answer {
    pub(super) media: &'static str,
    pub(super) description: &'static str,
    /// Nothing for an answer without a body.
    pub(super) schema: Option<RefOr<Schema>>,
}

/// What a call takes.
pub(super) struct Body {
    schema: Ref,
    required: Required,
}

impl Body {
    pub(super) fn required(schema: Ref) -> Self {
        let required = Required::True;
        Self { schema, required }
    }

    pub(super) fn optional(schema: Ref) -> Self {
        let required = Required::False;
        Self { schema, required }
    }
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: HttpMethod,
    pub(super) path: &'a str,
    pub(super) id: &'a str,
    pub(super) summary: &'a str,
    pub(super) description: &'a str,
    /// Parameters by name; those that stand in the path as `{name}` are required, the others are of the query.
    pub(super) parameters: &'a [(&'a str, Type, &'a str)],
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<(u16, Answer)>,
    pub(super) problems: &'a [ProblemKind],
    pub(super) security: &'a [&'a str],
}

impl Draft {
    /// The reference to a type's schema, which comes into the document with all that it refers to.
    pub(super) fn schema<T: ToSchema>(&mut self) -> Ref {
        let mut schemas = vec![(T::name().to_string(), T::schema())];
        T::schemas(&mut schemas);
        self.components.schemas.extend(schemas);
        Ref::from_schema_name(T::name())
    }

    /// An answer in JSON.
    pub(super) fn json<T: ToSchema>(&mut self, description: &'static str) -> Answer {
        Answer {
            media: "application/json",
            description,
            schema: Some(self.schema::<T>().into()),
        }
    }

    pub(super) fn add(&mut self, call: Call<'_>) {
        let mut operation = OperationBuilder::new()
            .operation_id(Some(call.id))
            .summary(Some(call.summary))
            .description(Some(call.description));
        for (name, sort, description) in call.parameters {
            operation = operation.parameter(parameter(call.path, name, sort, description));
        }
        if let Some(body) = call.body {
            let content = ContentBuilder::new().schema(Some(body.schema)).build();
            let request = RequestBodyBuilder::new()
                .content("application/json", content)
                .required(Some(body.required));
            operation = operation.request_body(Some(request.build()));
        }
        for (status, answer) in call.answers {
            let mut response = ResponseBuilder::new().description(answer.description);
            if let Some(schema) = answer.schema {
                let content = ContentBuilder::new().schema(Some(schema)).build();
                response = response.content(answer.media, content);
            }
            operation = operation.response(status.to_string(), response.build());
        }
        for (status, kinds) in by_status(call.problems) {
            let content = ContentBuilder::new().schema(Some(self.schema::<Problem>()));
            let response = ResponseBuilder::new()
                .description(kinds.join("; "))
                .content(problem::CONTENT_TYPE, content.build());
            operation = operation.response(status.to_string(), response.build());
        }
        for (status, words) in self.everywhere {
            let content = ContentBuilder::new().build();
            let response = ResponseBuilder::new()
                .description(*words)
                .content(problem::CONTENT_TYPE, content);
            operation = operation.response(status.to_string(), response.build());
        }
        if !call.security.is_empty() {
            // On a Unix socket the caller is known by its peer credentials and shows no token.
            let schemes = call
                .security
                .iter()
                .map(|name| SecurityRequirement::new(*name, [""; 0]));
            let open = std::iter::once(SecurityRequirement::default());
            operation = operation.securities(Some(open.chain(schemes)));
        }
        self.paths
            .add_path_operation(call.path, vec![call.method], operation.build());
    }
}

fn parameter(
    path: &str,
    name: &str,
    sort: &Type,
    description: &str,
) -> utoipa::openapi::path::Parameter {
    let (place, required) = if path.contains(&format!("{{{name}}}")) {
        (ParameterIn::Path, Required::True)
    } else if name.starts_with(|first: char| first.is_ascii_uppercase()) {
        (ParameterIn::Header, Required::False)
    } else {
        (ParameterIn::Query, Required::False)
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(sort.clone())))
        .build()
}

/// The kinds of problem in words, by their HTTP status.
fn by_status(kinds: &[ProblemKind]) -> BTreeMap<u16, Vec<String>> {
    let mut by_status = BTreeMap::<u16, Vec<String>>::new();
    for kind in kinds {
        let name = serde_json::to_value(kind).unwrap_or_default();
        let name = name.as_str().unwrap_or_default();
        by_status
            .entry(kind.status())
            .or_default()
            .push(format!("`{name}`: {}", kind.title()));
    }
    by_status
}

/// A text answer.
pub(super) fn text(media: &'static str, description: &'static str) -> Answer {
    Answer {
        media,
        description,
        schema: Some(ObjectBuilder::new().schema_type(Type::String).into()),
    }
}

/// An answer without a body.
pub(super) fn nothing(description: &'static str) -> Answer {
    Answer {
        media: "",
        description,
        schema: None,
    }
}
